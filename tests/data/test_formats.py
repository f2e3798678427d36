"""Every label format, written by other people's libraries, is read back box for box."""

import json

import cv2
import numpy as np
import pytest
import supervision as sv
from globox import AnnotationSet

from shufflenet_det.cli import run_tool
from shufflenet_det.data.commands import write
from shufflenet_det.data.formats import read_source

CLASSES = ["cat", "dog", "umbrella"]
SIZES = {"a.jpg": (160, 120), "b.png": (96, 128), "c.jpg": (200, 90)}
BOXES = {  # x, y, width, height
    "a.jpg": [("dog", [10, 20, 50, 40]), ("cat", [100, 50, 60, 70])],
    "b.png": [("umbrella", [5, 6, 30, 20])],
    "c.jpg": [("dog", [0, 0, 200, 90])],
}


@pytest.fixture
def folder(tmp_path):
    """Three images of different sizes and suffixes, without labels."""
    images = tmp_path / "source" / "images"
    images.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        coarse = random.integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(str(images / name), cv2.resize(coarse, (width, height)))
    return tmp_path / "source"


def coco():
    """The boxes in COCO's form, from which globox writes the other formats."""
    ids = {name: number for number, name in enumerate(SIZES)}
    annotations = [
        {
            "id": 10 * ids[name] + number,
            "image_id": ids[name],
            "category_id": CLASSES.index(label),
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        for name, boxes in BOXES.items()
        for number, (label, box) in enumerate(boxes)
    ]
    images = [
        {"id": ids[name], "file_name": name, "width": size[0], "height": size[1]}
        for name, size in SIZES.items()
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(folder):
    (folder / "labels.json").write_text(json.dumps(coco()))


def write_voc(folder):
    annotations(folder).save_pascal_voc(folder / "Annotations")


def write_labelme(folder):
    annotations(folder).save_labelme(folder / "labels")


def write_cvat(folder):
    annotations(folder).save_cvat(folder / "annotations.xml")


def write_yolo(folder):
    """By supervision, with a data.yaml."""
    write_coco(folder)
    dataset = sv.DetectionDataset.from_coco(str(folder / "images"), str(folder / "labels.json"))
    (folder / "labels.json").unlink()
    dataset.as_yolo(
        annotations_directory_path=str(folder / "labels"), data_yaml_path=str(folder / "data.yaml")
    )


def annotations(folder):
    write_coco(folder)
    read = AnnotationSet.from_coco(folder / "labels.json")
    (folder / "labels.json").unlink()
    return read


def boxes(content):
    """By file name without folders: the class and the box, in order."""
    names = {category["id"]: category["name"] for category in content["categories"]}
    files = {image["id"]: image["file_name"].split("/")[-1] for image in content["images"]}
    found = {name: [] for name in files.values()}
    for box in content["annotations"]:
        found[files[box["image_id"]]].append((names[box["category_id"]], box["bbox"]))
    return found


WRITERS = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "labelme": write_labelme,
    "cvat": write_cvat,
}


@pytest.mark.parametrize("form", WRITERS)
def test_a_format_is_recognised_and_read_box_for_box(folder, form):
    WRITERS[form](folder)
    source = read_source(folder)
    assert source.format == form
    assert set(source.parts) == {"all"}
    content = source.parts["all"]
    assert [c["name"] for c in content["categories"]] == CLASSES
    assert {
        i["file_name"].split("/")[-1]: (i["width"], i["height"]) for i in content["images"]
    } == SIZES
    found = boxes(content)
    for name, expected in BOXES.items():
        assert [label for label, _ in found[name]] == [label for label, _ in expected]
        for (_, box), (_, wanted) in zip(found[name], expected, strict=True):
            # labels are written with rounded fractions or whole pixels
            assert np.allclose(box, wanted, atol=1.01 if form == "voc" else 0.01)


@pytest.mark.parametrize("form", WRITERS)
def test_the_folder_that_import_writes_is_whole_and_the_source_untouched(folder, form, tmp_path):
    WRITERS[form](folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    words = ["import", str(folder), str(tmp_path / "out"), "--split", "train=0.7", "val=0.3"]
    assert run_tool("data", words) == 0
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert before == after
    total = 0
    for part in ("train", "val"):
        content = json.loads((tmp_path / "out" / f"{part}.json").read_text())
        for image in content["images"]:
            pixels = cv2.imread(str(tmp_path / "out" / "images" / image["file_name"]))
            assert pixels.shape[:2] == (image["height"], image["width"])
        total += len(content["images"])
    assert total == len(SIZES)


def test_yolo_in_roboflows_layout_keeps_its_parts_and_polygons_become_boxes(tmp_path):
    for part in ("train", "valid"):
        for kind in ("images", "labels"):
            (tmp_path / part / kind).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / part / "images" / "x.jpg"), np.zeros((100, 200, 3), np.uint8))
    (tmp_path / "train/labels/x.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "valid/labels/x.txt").write_text("0 0.1 0.2 0.4 0.2 0.4 0.6\n")
    (tmp_path / "data.yaml").write_text("names: {0: cat, 1: dog}\n")
    parts = read_source(tmp_path).parts
    assert set(parts) == {"train", "val"}
    assert boxes(parts["train"]) == {"x.jpg": [("dog", [50, 25, 100, 50])]}
    ((name, box),) = boxes(parts["val"])["x.jpg"]
    assert name == "cat"
    assert np.allclose(box, [20, 20, 60, 40])


def test_roboflows_coco_loses_its_category_without_boxes(tmp_path):
    content = coco()
    content["categories"] = [{"id": 0, "name": "pets", "supercategory": "none"}] + [
        {"id": number + 1, "name": name, "supercategory": "pets"}
        for number, name in enumerate(CLASSES)
    ]
    for box in content["annotations"]:
        box["category_id"] += 1
    for part in ("train", "valid", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(content))
        for name, (width, height) in SIZES.items():
            cv2.imwrite(str(tmp_path / part / name), np.zeros((height, width, 3), np.uint8))
    source = read_source(tmp_path)
    assert set(source.parts) == {"train", "val", "test"}
    for part, top in (("train", "train"), ("val", "valid"), ("test", "test")):
        found = source.parts[part]
        assert [category["name"] for category in found["categories"]] == CLASSES
        assert all(image["file_name"].startswith(f"{top}/") for image in found["images"])
    assert any("'pets'" in note for note in source.notes)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("labels/a.txt", "0 0.5 0.5 0.5\n0 1\n", "no labels"),
        ("labels/a.txt", "0 0.5 0.5 0.1 0.1\ncat 0.5 0.5 0.5 0.5\n", "a.txt, line 2"),
        ("a.xml", "<annotation><filename>a.jpg</filename></annotation>", "a.xml"),
        ("a.xml", "<annotation><filename>a.jpg</filename>", "a.xml"),
        ("all.xml", "<annotations><track id='0'/></annotations>", "tracks"),
        ("a.json", '{"shapes": [{"points": 3}], "imagePath": "a.jpg"}', "a.json"),
        ("a.json", "{", "a.json"),
        # what the fuzzer found
        ("all.xml", "<annotations><image name='a.jpg' width='x'/></annotations>", "all.xml"),
        ("labels/a.txt", "0 0.5 0.5 0.1 0.1\n\xe9", "no labels"),
        ("data.yaml", "names: [cat", "data.yaml"),
        ("data.yaml", "names: {x: cat}", "data.yaml"),
    ],
)
def test_a_damaged_label_file_is_named(folder, name, text, told):
    (folder / name).parent.mkdir(exist_ok=True)
    if name == "data.yaml":
        write_yolo(folder)
    (folder / name).write_text(text, "latin-1")
    with pytest.raises(ValueError, match=told):
        read_source(folder)


def test_two_formats_in_one_folder_are_a_question(folder):
    write_voc(folder)
    write_cvat(folder)
    with pytest.raises(ValueError, match="voc and cvat"):
        read_source(folder)
    assert read_source(folder, "cvat").format == "cvat"


def test_nothing_is_left_where_an_import_fails(folder, tmp_path, monkeypatch):
    write_coco(folder)
    monkeypatch.setattr("shutil.copy2", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError(18, "other disk")))
    with pytest.raises(OSError, match="disk full"):
        write(read_source(folder), folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_tiles_hold_the_boxes_where_they_lie(folder, tmp_path, capsys):
    pytest.importorskip("sahi")
    write_coco(folder)
    source = json.loads((folder / "labels.json").read_text())
    source["annotations"][0]["iscrowd"] = 1
    (folder / "labels.json").write_text(json.dumps(source))
    out = tmp_path / "tiles"
    command = ["tile", str(folder / "labels.json"), str(out), "--images", str(folder / "images")]
    assert run_tool("data", [*command, "--size", "64", "--overlap", "0.25"]) == 0
    assert "1 crowd region" in capsys.readouterr().out
    tiles = json.loads((out / "labels.json").read_text())
    names = {image["id"]: image["file_name"] for image in tiles["images"]}
    assert sorted(names.values()) == sorted(path.name for path in (out / "images").iterdir())
    kinds = {a["category_id"] for a in tiles["annotations"]}
    assert kinds == {0, 1, 2}
    for image in tiles["images"]:
        stem, _, left, top, right, bottom = image["file_name"][:-4].split("_")
        left, top, right, bottom = map(int, (left, top, right, bottom))
        whole = cv2.imread(str(next((folder / "images").glob(f"{stem}.*"))))
        tile = cv2.imread(str(out / "images" / image["file_name"]))
        assert np.array_equal(tile, whole[top:bottom, left:right])
        got = sorted(a["bbox"] for a in tiles["annotations"] if a["image_id"] == image["id"])
        expected = []
        for a in source["annotations"]:
            x, y, width, height = a["bbox"]
            if list(SIZES)[a["image_id"]].startswith(stem) and not a["iscrowd"]:
                x1, y1 = max(x, left), max(y, top)
                x2, y2 = min(x + width, right), min(y + height, bottom)
                if x2 > x1 and y2 > y1 and (x2 - x1) * (y2 - y1) >= 0.1 * width * height:
                    expected.append([x1 - left, y1 - top, x2 - x1, y2 - y1])
        assert got == sorted(expected)
