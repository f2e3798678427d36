"""The detector as users call it: inputs, results and errors."""

import hashlib
import json
import logging
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import supervision as sv
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image
from pycocotools.coco import COCO

from shufflenet_det.carried_config import carried_config, require_registered
from shufflenet_det.cli import main, run_tool
from shufflenet_det.detector import Detections, Detector, image_files, read_image
from shufflenet_det.detector.results import draw
from shufflenet_det.weights.files import cache_path

SSDLITE = "configs/ssdlite320_shufflenet_coco.py"
CLASSES = ("helmet", "vest", "rope")


def config_of(root, name, classes=CLASSES):
    """A shipped config for a few classes; its random weights produce boxes with all scores."""
    cfg = Config.fromfile(root / name)
    cfg.model.backbone.init_cfg = None
    (cfg.model.get("roi_head", cfg.model).bbox_head).num_classes = len(classes)
    (cfg.model.test_cfg.get("rcnn") or cfg.model.test_cfg).score_thr = 0.0
    (cfg.model.test_cfg.get("rcnn") or cfg.model.test_cfg).max_per_img = 20
    for step in cfg.test_dataloader.dataset.pipeline:
        if step["type"] == "Resize" and step.get("keep_ratio"):
            step["scale"] = (256, 192)
    cfg.test_dataloader.dataset.metainfo = {"classes": list(classes)}
    return cfg


def save(cfg, path, classes=CLASSES):
    """A checkpoint with random weights, as mmengine writes it."""
    torch.manual_seed(0)
    state = MODELS.build(cfg.model).state_dict()
    meta = {"cfg": cfg.pretty_text, "dataset_meta": {"classes": classes}}
    torch.save({"state_dict": state, "meta": meta}, path)
    return str(path)


@pytest.fixture(scope="module")
def checkpoint(root, tmp_path_factory):
    return save(config_of(root, SSDLITE), tmp_path_factory.mktemp("run") / "run.pth")


@pytest.fixture(scope="module")
def detector(checkpoint):
    return Detector(checkpoint, score_threshold=0)


@pytest.fixture(scope="module")
def photo():
    """(90, 120, 3), smooth, so that JPEG changes it little."""
    rng = np.random.default_rng(0)
    return cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (120, 90))


@pytest.fixture
def folder(photo, tmp_path):
    """Three images, one of them unreadable, and other files."""
    where = tmp_path / "photos"
    where.mkdir()
    for name in ("a.bmp", "b.TIFF", "a.png"):
        (where / name).write_bytes(cv2.imencode(name[1:].lower(), photo)[1])
    (where / "bad.jpg").write_bytes(b"")
    (where / "notes.txt").write_text("no image")
    return where


# --- images


@pytest.mark.parametrize("suffix", ["bmp", "png", "tiff", "webp", "ppm"])
def test_files_are_read_as_pillow_reads_them(photo, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo[..., ::-1]).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(read_image(path), photo)
    assert np.array_equal(read_image(Image.open(path)), photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_exif_data_say(photo, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(photo[..., ::-1]).save(path, exif=exif)
    turned = {
        1: photo, 2: photo[:, ::-1], 3: photo[::-1, ::-1], 4: photo[::-1],
        5: photo.transpose(1, 0, 2), 6: np.rot90(photo, -1),
        7: photo[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(photo),
    }[orientation]  # fmt: skip
    assert np.array_equal(read_image(path), turned)
    assert np.array_equal(read_image(Image.open(path)), turned)


def test_every_number_of_channels_and_bits(photo, tmp_path):
    grey = photo[..., 0]
    three = np.stack([grey] * 3, -1)
    deep = grey.astype(np.uint16) * 257
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), deep)
    for source in (grey, grey[..., None], deep, path, Image.open(path), Image.fromarray(grey)):
        assert np.array_equal(read_image(source), three)
    transparent = np.dstack([photo, grey])
    cv2.imwrite(str(path), transparent)
    for source in (transparent, path, Image.open(path)):
        assert np.array_equal(read_image(source), photo)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (np.zeros((4, 4, 3)), r"float64 of shape \(4, 4, 3\)"),
        (np.zeros((3, 40, 50), np.uint8), r"shape \(3, 40, 50\)"),
        (np.zeros((0, 4, 3), np.uint8), "no pixels"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        ("no_such.jpg", "'no_such.jpg' not found"),
        ("configs", "'configs' is a folder"),
        ("README.md", "'README.md' is not an image"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_image_is_refused(source, says, root, monkeypatch):
    monkeypatch.chdir(root)
    with pytest.raises((ValueError, FileNotFoundError, TypeError), match=says):
        read_image(source)


def test_an_empty_file_is_named(folder):
    with pytest.raises(ValueError, match=r"bad\.jpg' is an empty file"):
        read_image(folder / "bad.jpg")


def test_images_of_a_folder_whatever_the_case_of_their_suffix(folder):
    assert [path.name for path in image_files(folder)] == ["a.bmp", "a.png", "b.TIFF", "bad.jpg"]


def test_a_folder_without_images_says_where_some_are(folder):
    with pytest.raises(FileNotFoundError, match=r"no image in .*; there are images in '.*photos'"):
        image_files(folder.parent)


# --- detections


@pytest.mark.parametrize(
    "name",
    [SSDLITE, "configs/retinanet_shufflenet_coco.py", "configs/faster_rcnn_shufflenet_coco.py"],
)
def test_boxes_are_those_of_mmdets_own_inference(root, name, photo, tmp_path):
    cfg = config_of(root, name)
    path = save(cfg, tmp_path / "run.pth")
    detector = Detector(path, score_threshold=0, device="cpu")
    # Not optimized: the faster copy may swap boxes with nearly equal scores.
    detector._model._optimized = detector._model.model
    found = detector(photo)
    theirs = inference_detector(init_detector(cfg, path, device="cpu"), photo).pred_instances
    order = np.argsort(-theirs.scores.numpy(), kind="stable")
    assert len(found) == 20
    assert np.array_equal(found.xyxy, theirs.bboxes.numpy()[order])
    assert np.array_equal(found.confidence, theirs.scores.numpy()[order])
    assert np.array_equal(found.class_id, theirs.labels.numpy()[order])
    assert list(found["class_name"]) == [CLASSES[label] for label in found.class_id]


def test_a_config_and_a_checkpoint_are_as_the_checkpoint_alone(root, checkpoint, detector, photo):
    both = Detector(config_of(root, SSDLITE), checkpoint, score_threshold=0)
    assert both.classes == detector.classes == CLASSES
    assert np.array_equal(both(photo).xyxy, detector(photo).xyxy)


def test_every_kind_of_source_gives_the_same_boxes(detector, photo, folder):
    expected = detector(photo).xyxy
    (folder / "bad.jpg").unlink()
    one = [detector(folder / "a.bmp"), detector(str(folder / "a.png"))]
    one += [detector(Image.fromarray(photo[..., ::-1])), *detector([photo, folder / "a.bmp"])]
    for result in (*one, *detector(folder)):
        assert np.array_equal(result.xyxy, expected)


def test_the_score_threshold(detector, checkpoint, photo):
    scores = detector(photo).confidence
    least = float(np.median(scores))
    kept = scores[scores >= least]
    assert np.array_equal(detector(photo, score_threshold=least).confidence, kept)
    assert np.array_equal(Detector(checkpoint, score_threshold=least)(photo).confidence, kept)
    with pytest.raises(ValueError, match=r"score_threshold=30: must be from 0 to 1"):
        Detector(checkpoint, score_threshold=30)


def test_supervision_takes_the_detections(detector, photo):
    found = detector(photo)
    helmets = found[found["class_name"] == "helmet"]
    assert isinstance(helmets, Detections) and set(helmets.class_id) <= {0}
    assert helmets.plot().shape == photo.shape
    assert len(found.with_nms(0.1)) <= len(found)
    assert len(sv.Detections.merge([found, helmets])) == len(found) + len(helmets)
    tiles = sv.InferenceSlicer(detector, slice_wh=(64, 64), overlap_wh=(0, 0))(photo)
    assert set(tiles["class_name"]) <= set(CLASSES)


def test_drawing_changes_a_copy_and_writes_it(detector, photo, tmp_path):
    before = photo.copy()
    drawn = detector(photo).plot(tmp_path / "new" / "out.png")
    assert np.array_equal(photo, before) and not np.array_equal(drawn, before)
    assert np.array_equal(cv2.imread(str(tmp_path / "new" / "out.png")), drawn)
    with pytest.raises(ValueError, match=r"'\.xyz' is not a format"):
        detector(photo).plot(tmp_path / "out.xyz")
    with pytest.raises(ValueError, match="have no image"):
        Detections.of(sv.Detections.empty(), CLASSES, None).plot()


def test_lines_and_labels_grow_with_the_image():
    def share(side):
        image = np.zeros((side, side, 3), np.uint8)
        box = np.array([[0.3, 0.3, 0.9, 0.9]]) * side
        found = sv.Detections(box, confidence=np.array([0.5]), class_id=np.array([0]))
        return np.any(draw(image, Detections.of(found, ["vest"], image)), -1).mean()

    assert share(4000) == pytest.approx(share(1000), rel=0.4)


# --- checkpoints


@pytest.mark.parametrize(
    "text",
    [
        "model = __import__('os').system('touch PWNED')",
        "import os\nos.system('touch PWNED')",
        "model = dict(type='A', **{'b': 1})",
        "model = [x for x in (1, 2)]",
        "model = f'{1}'",
        "model.type = 'A'",
        "model = " + "[" * 5000 + "]" * 5000,
        "model = (",
    ],
)
def test_a_config_in_a_checkpoint_is_data(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}, "meta": {"cfg": text}}, "evil.pth")
    with pytest.raises(ValueError, match=r"config in 'evil\.pth' was not read"):
        Detector("evil.pth")
    assert not (tmp_path / "PWNED").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"model.backbone": {"type": "os.system", "command": "touch PWNED"}},
        {"model.test_cfg.nms.type": "__import__('os').system('touch PWNED')"},
        {"model.bbox_head.anchor_generator._scope_": "antigravity"},
        {"model.neck.type": "evil.Neck"},
        {"model.neck.teacher_config": "evil.py"},
        {"test_dataloader.dataset.pipeline": [{"type": "os.system", "command": "touch PWNED"}]},
    ],
)
def test_a_config_in_a_checkpoint_names_registered_parts_only(
    root, change, checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    content = torch.load(checkpoint)
    cfg = config_of(root, SSDLITE)
    cfg.merge_from_dict(change)
    content["meta"]["cfg"] = cfg.pretty_text
    torch.save(content, "evil.pth")
    with pytest.raises(ValueError, match=r"config in 'evil\.pth' names"):
        Detector("evil.pth")
    assert not (tmp_path / "PWNED").exists()


def test_trust_executes_the_config(checkpoint, tmp_path):
    content = torch.load(checkpoint)
    content["meta"]["cfg"] = "import math\n" + content["meta"]["cfg"]
    torch.save(content, tmp_path / "own.pth")
    with pytest.raises(ValueError, match="trust=True"):
        Detector(tmp_path / "own.pth")
    assert Detector(tmp_path / "own.pth", trust=True).classes == CLASSES


@pytest.mark.parametrize("name", ["*.py", "paper_v1/*_2x_300.py", "paper_v2/*v2_0.5x.py"])
def test_shipped_configs_are_read_as_data_equal_to_themselves(root, name):
    paths = [p for p in sorted((root / "configs").glob(name)) if "own_data" not in p.name]
    assert paths
    for path in paths:
        cfg = Config.fromfile(path, format_python_code=False)
        data = carried_config({"cfg": cfg.pretty_text}, path.name)
        assert Config(data).to_dict() == Config.fromstring(cfg.pretty_text, ".py").to_dict()
        require_registered(cfg.model, path.name)


def test_a_checkpoint_of_other_classes_or_another_width_is_refused(root, checkpoint):
    for_coco = config_of(root, SSDLITE, classes=[str(i) for i in range(80)])
    with pytest.raises(ValueError, match=r"was trained on 3 classes .* 80 classes"):
        Detector(for_coco, checkpoint)
    wide = config_of(root, SSDLITE)
    wide.model.backbone.widen_factor = 1.5
    with pytest.raises(ValueError, match=r"does not fit .*of another shape \(backbone\."):
        Detector(wide, checkpoint)


def test_tensors_that_are_missing_left_over_or_not_finite_are_refused(checkpoint, tmp_path):
    path = tmp_path / "changed.pth"
    for change, says in (
        (lambda state: state.pop("backbone.conv1.0.weight"), "1 missing"),
        (lambda state: state.update(more=torch.zeros(1)), r"1 unexpected tensors \(more\)"),
        (lambda state: next(iter(state.values())).fill_(float("nan")), "not finite"),
    ):
        content = torch.load(checkpoint)
        change(content["state_dict"])
        torch.save(content, path)
        with pytest.raises(ValueError, match=says):
            Detector(path)


def test_a_config_other_than_the_trained_one_is_said(root, checkpoint, caplog):
    other = config_of(root, SSDLITE)
    other.model.backbone.norm_cfg = {"type": "BN", "eps": 0.1}
    with caplog.at_level(logging.WARNING, "shufflenet_det"):
        Detector(config_of(root, SSDLITE), checkpoint)
        assert not caplog.records
        Detector(other, checkpoint)
    assert "model.backbone.norm_cfg.eps is 0.1, trained with" in caplog.text


def test_a_checkpoint_without_a_config_asks_for_it(checkpoint, tmp_path):
    torch.save(torch.load(checkpoint)["state_dict"], tmp_path / "bare.pth")
    with pytest.raises(ValueError, match="contains no config"):
        Detector(tmp_path / "bare.pth")


# --- the command


def predict(capsys, *arguments):
    status = main(["predict", *map(str, arguments)])
    return (status, *capsys.readouterr())


def test_a_folder_is_drawn_and_written_and_a_bad_image_named(checkpoint, folder, tmp_path, capsys):
    out, boxes = tmp_path / "drawn", tmp_path / "boxes.json"
    status, said, errors = predict(
        capsys, checkpoint, folder, "--out", out, "--json", boxes, "--score-thr", 0
    )
    assert status == 1
    assert "bad.jpg' is an empty file" in errors
    for part in ("3 images, ", "1 of 4 images could not be read: bad.jpg", str(out), str(boxes)):
        assert part in said
    assert sorted(p.name for p in out.iterdir()) == ["a.bmp", "a.png", "b.TIFF"]
    records = json.loads(boxes.read_text())
    assert {r["file_name"] for r in records} == {"a.bmp", "a.png", "b.TIFF"}
    assert all(CLASSES[r["category_id"]] == r["category_name"] for r in records)
    coco = COCO()
    coco.dataset = {
        "images": [{"id": name} for name in ("a.bmp", "a.png", "b.TIFF")],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": [],
    }
    coco.createIndex()
    assert len(coco.loadRes(str(boxes)).anns) == len(records) > 0


def test_a_video_is_drawn_frame_by_frame(checkpoint, detector, photo, tmp_path, capsys):
    clip = str(tmp_path / "clip.avi")
    with sv.VideoSink(clip, sv.VideoInfo(120, 90, 5, 4), codec="MJPG") as sink:
        for _ in range(4):
            sink.write_frame(photo)
    assert [len(result) for result in detector(clip)] == [20] * 4
    boxes = tmp_path / "b.json"
    status, said, _ = predict(
        capsys, checkpoint, clip, "--out", tmp_path / "out", "--json", boxes, "--score-thr", 0
    )
    assert status == 0 and "4 frames" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["clip.mp4"]
    info = sv.VideoInfo.from_video_path(str(tmp_path / "out" / "clip.mp4"))
    assert (info.width, info.height, info.total_frames, info.fps) == (120, 90, 4, 5)
    assert {record["image_id"] for record in json.loads(boxes.read_text())} == set(range(4))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("photos/bad.jpg", "'photos/bad.jpg' is an empty file"),
        ("photos/notes.txt", "'photos/notes.txt' is not an image"),
        ("empty", "no image in 'empty'"),
        ("gone", "'gone' not found"),
        ("gone.mp4", "video 'gone.mp4' not found"),
        ("no.mp4", "'no.mp4' is not a video"),
        ("99", "camera 99 cannot be read"),
        ("photos", "folder of the originals"),
    ],
)
def test_a_wrong_source_is_one_sentence(
    checkpoint, folder, tmp_path, capfd, monkeypatch, source, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.mp4").write_bytes(b"no video")
    out = "photos" if source == "photos" else "out"
    before = sorted(tmp_path.rglob("*"))
    status, _, errors = predict(capfd, checkpoint, source, "--out", out)
    assert status == 2
    assert says in errors.splitlines()[-1] and "Traceback" not in errors
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name != "out"] == before


def test_the_program_with_mmdets_arguments(root, checkpoint, folder, tmp_path):
    config = tmp_path / "config.py"
    config_of(root, SSDLITE).dump(config)
    arguments = [config, checkpoint, folder / "a.png", "--out-dir", tmp_path / "drawn"]
    assert run_tool("_demo", list(map(str, arguments))) == 0
    assert (tmp_path / "drawn" / "a.png").is_file()


# --- ready detectors


@pytest.fixture
def ready(root, tmp_path, monkeypatch):
    """A ready detector with the name of a shipped config: (URL of its file, torch's cache)."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(cache))
    cfg = Config.fromfile(root / SSDLITE)
    cfg.model.backbone.init_cfg = None
    file = tmp_path / "published.ckpt"
    save(cfg, file, [str(i) for i in range(80)])

    def publish(url=None, digest=None, file_name=""):
        digest = digest or "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()[:10]
        record = SimpleNamespace(
            name="a/b",
            url=url or file.as_uri(),
            file=file_name,
            digest=digest,
            can_be_fetched=not file_name,
        )
        found = {"ssdlite320_shufflenet_coco": record}
        monkeypatch.setattr("shufflenet_det.detector.ready.ready_detectors", lambda: found)
        return cache_path(record.url, record.file)

    return publish


def test_a_ready_detector_is_downloaded_once(ready, photo, capfd):
    path = ready()
    for name in ("ssdlite320_shufflenet_coco", "a/b"):
        assert len(Detector(name)(photo, score_threshold=0).xyxy) >= 0
        assert path.is_file()
        progress = capfd.readouterr().err
        assert ("100%" in progress) == (name == "ssdlite320_shufflenet_coco")


def test_a_download_that_is_another_file_is_not_kept(ready):
    path = ready(digest="sha256:0123456789")
    with pytest.raises(ValueError, match="was deleted: its sha256 does not start"):
        Detector("a/b")
    assert not path.exists()


def test_offline_says_which_file_to_put_where(ready):
    path = ready(url="http://127.0.0.1:9/published.ckpt")
    with pytest.raises(ConnectionError) as refused:
        Detector("a/b")
    for part in ("http://127.0.0.1:9/published.ckpt", str(path)):
        assert part in str(refused.value)


def test_a_file_that_only_a_person_can_fetch_is_named(ready):
    path = ready(url="https://example.org/page", file_name="published.ckpt")
    with pytest.raises(ConnectionError) as refused:
        Detector("a/b")
    for part in ("published.ckpt from https://example.org/page", str(path)):
        assert part in str(refused.value)


def test_the_nearest_ready_detector_is_named(ready):
    ready()
    with pytest.raises(FileNotFoundError, match=r"did you mean ssdlite320_shufflenet_coco\?"):
        Detector("ssdlite32_shufflenet_coco")
    with pytest.raises(ValueError, match=r"is a config: pass a checkpoint as well"):
        Detector("retinanet_shufflenet_coco")


def test_reading_drawing_and_dispatch_import_no_torch(python):
    done = python(
        "-c",
        "import sys; from shufflenet_det.detector import Detections, Detector, read_image; "
        "print('torch' in sys.modules, 'mmengine' in sys.modules)",
    )
    assert done.stdout == "False False\n"


def test_the_listed_costs_are_counted(root, multiply_adds, capsys):
    assert main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["nanodet_plus_m_416"]["mAP"] == 30.4
    for name, row in rows.items():
        cfg = Config.fromfile(root / "configs" / "nanodet" / f"{name}.py").model
        cfg.backbone.init_cfg = cfg.train_cfg = None
        network = MODELS.build(cfg).eval()
        assert row["parameters"] == sum(p.numel() for p in network.parameters())
        image = torch.zeros(1, 3, row["image"], row["image"])
        assert row["multiply-adds"] == multiply_adds(network, image, mode="tensor")
    assert main(["models"]) == 0
    assert "nanodet_plus_m_1.5x_416" in capsys.readouterr().out


def test_real_weights_find_what_is_on_real_photographs(root):
    weights = root.parent / "shared/weights/nanodet-plus-m_416_folded.safetensors"
    data = root.parent / "shared/data/coco_mini"
    if not weights.is_file() or not data.is_dir():
        pytest.skip("needs NanoDet-Plus's weights and COCO's photographs, which are not shipped")
    detector = Detector("nanodet_plus_m_416", weights, score_threshold=0.5)
    truth = COCO(data / "annotations/instances_val2017.json")
    right = total = 0
    for image in truth.loadImgs(truth.getImgIds()[:12]):
        found = detector(data / "val2017" / image["file_name"])
        boxes = truth.loadAnns(truth.getAnnIds(image["id"]))
        total += len(found)
        if len(found) and boxes:
            xyxy = sv.xywh_to_xyxy(np.array([box["bbox"] for box in boxes]))
            names = np.array([truth.cats[box["category_id"]]["name"] for box in boxes])
            overlaps = sv.box_iou_batch(xyxy, found.xyxy)
            right += ((overlaps > 0.5) & (names[:, None] == found["class_name"])).any(0).sum()
    assert total > 20
    assert right / total > 0.7
