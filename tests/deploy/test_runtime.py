import json
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from shufflenet_det.deploy import Detector
from shufflenet_det.deploy.runtime import suppress
from shufflenet_det.deploy.runtime.engines import preprocess
from shufflenet_det.deploy.verification import photographs

# For a new interpreter in which these modules cannot be imported.
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split(",")))
from shufflenet_det.cli import main
sys.exit(main(sys.argv[2:]))
"""
TWO_MODELS = """
import signal, subprocess, sys
from shufflenet_det.deploy import Detector
signal.signal(signal.SIGCHLD, lambda *_: print("signal"))
first, second = Detector(sys.argv[1]), Detector(sys.argv[1])
del first
del second
subprocess.run([sys.executable, "-c", ""])
print("alive")
"""
HOST = "mmengine,mmdet,mmcv,faster_coco_eval,globox,safetensors"


@pytest.fixture(scope="module")
def file(exported):
    return exported("ssdlite")[1]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("ssdlite", "model.onnx"),
        ("ssdlite", "model.xml"),
        ("nanodet_plus", "model.ncnn.param"),
        ("nanodet_plus", "model.pt2"),
    ],
)
def test_predict_needs_the_runtime_alone(exported, kind, name, python, tmp_path):
    model, file = exported(kind, name)
    (tmp_path / "images").mkdir()
    for i, image in enumerate(photographs()):
        cv2.imwrite(str(tmp_path / f"images/{i}.png"), image)
    hidden = HOST if name.endswith(".pt2") else f"torch,torchvision,{HOST}"
    arguments = ("-c", WITHOUT, hidden, "predict", file, tmp_path / "images")
    out = tmp_path / "out"
    done = python(*arguments, "--out", out, "--json", out / "boxes.json", "--score-thr", "0.2")
    assert "3 images" in done.stdout
    assert len(list(out.glob("*.png"))) == 3
    found = json.loads((out / "boxes.json").read_text())
    expected = [model(image) for image in photographs()]
    scores = np.concatenate([of_image.confidence for of_image in expected])
    scores = np.sort(scores[scores >= 0.2])
    assert len(scores) > 50
    np.testing.assert_allclose(np.sort([box["score"] for box in found]), scores, atol=1e-3)


def test_predict_reads_videos_without_torch(file, python, tmp_path):
    frame = photographs()[1][:240, :320]
    writer = cv2.VideoWriter(
        str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (320, 240)
    )
    for _ in range(2):
        writer.write(frame)
    writer.release()
    hidden = f"torch,torchvision,{HOST}"
    done = python(
        "-c", WITHOUT, hidden, "predict", file, tmp_path / "a.avi", "--out", tmp_path / "out"
    )
    assert "2 frames" in done.stdout
    assert (tmp_path / "out/a.mp4").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGCHLD")
def test_a_process_survives_signals_after_two_openvino_models(exported, python):
    done = python("-X", "faulthandler", "-c", TWO_MODELS, exported("ssdlite", "model.xml")[1])
    assert done.stdout.split()[-2:] == ["signal", "alive"]


def test_a_command_that_needs_torch_says_how_to_install_it(python):
    arguments = ("-c", WITHOUT, f"torch,torchvision,{HOST}", "export", "a", "b", "c.onnx")
    done = python(*arguments, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("pip install 'shufflenet_det[lite]'")


PROGRAM = """
import sys
import numpy as np
import torch
program = torch.export.load(sys.argv[1]).module()
scores, boxes = program(torch.from_numpy(np.load(sys.argv[2])))
np.savez(sys.argv[3], scores=scores.detach().numpy(), boxes=boxes.detach().numpy())
print(*{name.partition(".")[0] for name in sys.modules} & {"mmengine", "mmdet", "mmcv"})
"""


def test_a_program_of_torch_needs_torch_alone(exported, python, tmp_path):
    model, file = exported("nanodet_plus", "model.pt2")
    image = cv2.resize(photographs()[0], (320, 320))  # whose boxes need not be scaled
    spec = Detector(file).spec
    np.save(tmp_path / "x.npy", preprocess(image[..., ::-1], spec["input"])[0][None])
    done = python("-I", "-c", PROGRAM, file, tmp_path / "x.npy", tmp_path / "outs.npz")
    assert not done.stdout.strip()
    outs = np.load(tmp_path / "outs.npz")
    boxes, scores, labels = suppress(np.clip(outs["boxes"], 0, 320), outs["scores"], spec)
    expected = model(image)
    assert len(boxes) == len(expected) > 10
    np.testing.assert_allclose(scores, expected.confidence, atol=1e-4)
    np.testing.assert_allclose(boxes, expected.xyxy, atol=1e-2)
    np.testing.assert_array_equal(labels, expected.class_id)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("nanodet_m", "model.ncnn.param"),
        ("nanodet_plus", "model.ncnn.param"),
        ("ssd300", "model.ncnn.param"),
        ("ssdlite", "model.tflite"),
    ],
)
def test_formats_of_one_image_size_find_the_boxes_of_pytorch(exported, assert_same, kind, name):
    if name == "model.tflite":
        pytest.importorskip("litert_torch", reason="the extra tflite is not installed")
    model, file = exported(kind, name)
    assert_same(model, Detector(file), photographs())


def test_images_of_every_kind_are_the_same_image(file, tmp_path):
    detector = Detector(file, threads=1)
    bgr = photographs()[0]
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    Image.fromarray(rgb).save(tmp_path / "photo.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to show it
    Image.fromarray(np.rot90(rgb)).save(tmp_path / "turned.png", exif=exif)
    alpha = np.dstack([bgr, np.zeros(bgr.shape[:2], np.uint8)])
    images = [bgr, alpha, Image.fromarray(rgb), tmp_path / "photo.png", tmp_path / "turned.png"]
    first, *others = detector(images)
    assert len(first) > 10
    for other in others:
        np.testing.assert_allclose(other.xyxy, first.xyxy, atol=1e-3)
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    as_colour = detector(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
    np.testing.assert_array_equal(detector(grey).xyxy, as_colour.xyxy)


def test_boxes_are_best_first_named_and_inside(file):
    image = photographs()[1]
    found = Detector(file)(image)
    assert (np.diff(found.confidence) <= 0).all()
    assert set(found.data["class_name"]) <= {"bird", "cat", "dog"}
    height, width = image.shape[:2]
    assert (found.xyxy >= 0).all() and (found.xyxy <= [width, height] * 2).all()


def test_an_image_of_one_pixel(file):
    assert len(Detector(file)(np.zeros((1, 1, 3), np.uint8))) >= 0


def test_the_metadata_have_the_preprocessing_and_thresholds(file):
    spec = Detector(file).spec
    assert spec["classes"] == ["bird", "cat", "dog"]
    assert (spec["input"]["height"], spec["input"]["width"]) == (320, 320)
    assert spec["input"]["mean"] == [123.675, 116.28, 103.53]
    assert spec["score_threshold"] == 0.02
    assert json.dumps(spec)


def test_a_file_that_is_not_a_model_is_refused(file, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.onnx"):
        Detector(tmp_path / "gone.onnx")
    with pytest.raises(ValueError, match="an exported model ends in"):
        Detector(__file__)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match="cannot read"):
        Detector(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match="runs on onnxruntime or openvino"):
        Detector(file, runtime="ncnn")


def test_a_model_without_our_metadata_is_refused(tmp_path):
    import onnx

    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["image"], ["out"])
    graph = onnx.helper.make_graph([node], "other", [image], [out])
    model = onnx.helper.make_model(graph, ir_version=9)
    model.opset_import[0].version = 20
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(ValueError, match="no metadata of shufflenet_det"):
        Detector(tmp_path / "other.onnx")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-1],
        lambda text: text.replace('"classes": [', '"classes": 1.5, "names": ['),
        lambda text: text.replace('"max_boxes"', '"max"'),
        lambda text: "[]",
    ],
)
def test_damaged_metadata_are_refused(file, tmp_path, damage):
    import onnx

    model = onnx.load(file)
    [entry] = [entry for entry in model.metadata_props if entry.key == "shufflenet_det"]
    changed = damage(entry.value)
    assert changed != entry.value
    entry.value = changed
    onnx.save(model, str(tmp_path / "damaged.onnx"))
    with pytest.raises(ValueError, match=r"damaged\.onnx.*metadata of shufflenet_det is damaged"):
        Detector(tmp_path / "damaged.onnx")


def test_a_runtime_that_is_not_installed_is_named(file, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="pip install onnxruntime"):
        Detector(file)


def test_a_file_that_is_not_an_image_is_refused(file, tmp_path):
    detector = Detector(file)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.jpg"):
        detector(tmp_path / "text.jpg")
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        detector(tmp_path / "gone.jpg")
