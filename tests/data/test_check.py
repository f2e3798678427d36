"""Each mistake that people's annotation files hold is repaired, or told in one sentence."""

import copy
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from shufflenet_det.data.annotations import read_and_repair
from shufflenet_det.data.check import (
    check_annotations,
    check_images,
    check_parts,
    check_run_data,
    fix,
)
from shufflenet_det.data.folders import read_dataset

CLASSES = ("cat", "dog")


@pytest.fixture
def content(tmp_path):
    """Two images with two boxes each, and their files in ``tmp_path``."""
    images = [
        {"id": number, "file_name": f"{number}.jpg", "width": 80, "height": 60} for number in (1, 2)
    ]
    annotations = [
        {
            "id": number,
            "image_id": 2 - number % 2,
            "category_id": (number + 1) // 2,
            "bbox": [10 * number - 10, 5, 20, 30],
            "area": 600,
            "iscrowd": 0,
        }
        for number in range(1, 5)
    ]
    for image in images:
        pixels = np.random.default_rng(image["id"]).integers(0, 256, (60, 80, 3), np.uint8)
        cv2.imwrite(str(tmp_path / image["file_name"]), pixels)
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def written(content, path, encoding="utf-8"):
    path.write_text(json.dumps(content), encoding)
    return path


def texts(findings, severity="error"):
    return [str(finding) for finding in findings.of(severity)]


def test_images_without_a_size_are_found_in_cocos_layout(content, tmp_path):
    for folder in ("annotations", "elsewhere"):
        (tmp_path / folder).mkdir()
    for image in content["images"]:
        del image["width"], image["height"]
        (tmp_path / image["file_name"]).rename(tmp_path / "elsewhere" / image["file_name"])
    file = written(content, tmp_path / "annotations" / "instances_val2017.json")
    with pytest.raises(ValueError, match=r"images\[0\] has no 'width' .* '1.jpg' is in none of"):
        read_dataset(file)
    (tmp_path / "elsewhere").rename(tmp_path / "val2017")
    read, root, repairs = read_dataset(file)
    assert root == tmp_path / "val2017" and "2 images without a size" in repairs[0]
    assert [(image["width"], image["height"]) for image in read["images"]] == [(80, 60)] * 2


def test_a_sound_set_has_no_findings(content, tmp_path):
    read, repairs = read_and_repair(written(content, tmp_path / "a.json"))
    assert read == content
    assert not repairs
    assert not list(check_annotations(content, CLASSES, 32))
    assert not list(check_images(content, tmp_path, decode=True))


def edited(entries, **changes):
    """Change keys of every entry; a value of None deletes the key, a function is applied."""
    for entry in entries:
        for key, value in changes.items():
            if value is None:
                entry.pop(key)
            else:
                entry[key] = value(entry[key]) if callable(value) else value


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("annotations", {"area": None}),
        ("annotations", {"iscrowd": None}),
        ("annotations", {"id": None}),
        ("annotations", {"id": 3}),
        ("annotations", {"bbox": lambda box: [str(side) for side in box]}),
        ("annotations", {"image_id": str, "category_id": str}),
        ("images", {"width": str, "height": str}),
        ("images", {"width": None, "height": None}),
        ("images", {"id": str}),
    ],
)
def test_plain_mistakes_are_repaired_and_told(content, tmp_path, kind, changes):
    damaged = copy.deepcopy(content)
    edited(damaged[kind], **changes)
    read, repairs = read_and_repair(written(damaged, tmp_path / "a.json"), tmp_path)
    assert len(repairs) >= 1
    assert not texts(check_annotations(read, CLASSES))
    assert [box["bbox"] for box in read["annotations"]] == [
        box["bbox"] for box in content["annotations"]
    ]
    assert [box["area"] for box in read["annotations"]] == [600] * 4
    assert len({box["id"] for box in read["annotations"]}) == 4
    assert [(image["width"], image["height"]) for image in read["images"]] == [(80, 60)] * 2


def test_byte_order_marks_and_back_slashes_are_read(content, tmp_path):
    edited(content["images"], file_name=lambda name: f"sub\\{name}")
    for encoding in ("utf-8-sig", "utf-16"):
        read, repairs = read_and_repair(written(content, tmp_path / "a.json", encoding))
        assert [image["file_name"] for image in read["images"]] == ["sub/1.jpg", "sub/2.jpg"]
        assert repairs


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("categories", {"name": None}, r"categories\[0\].*'name'"),
        ("images", {"file_name": None}, r"images\[0\].*'file_name'"),
        ("images", {"file_name": 1.5}, r"images\[0\].file_name is 1.5"),
        ("images", {"id": 1.5}, r"images\[0\].id is 1.5"),
        ("images", {"id": float("inf")}, r"images\[0\].id is inf"),
        ("images", {"id": True}, r"images\[0\].id is True"),
        ("annotations", {"bbox": [1, 2, 3]}, r"annotations\[0\].bbox is \[1, 2, 3\]"),
        ("annotations", {"bbox": ["a", 1, 2, 3]}, r"annotations\[0\].bbox is 'a'"),
        ("annotations", {"image_id": None}, r"annotations\[0\].*'image_id'"),
    ],
)
def test_what_cannot_be_repaired_is_named(content, tmp_path, kind, changes, told):
    edited(content[kind], **changes)
    path = written(content, tmp_path / "broken.json")
    with pytest.raises(ValueError, match=f"broken.json: {told}"):
        read_and_repair(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"images": 3}', "[" * 100_000, "\xff"])
def test_what_is_no_annotation_file_is_named(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"broken\.json: "):
        read_and_repair(path)


@pytest.mark.parametrize(
    ("kind", "changes", "told"),
    [
        ("annotations", {"bbox": [float("nan"), 1, 2, 3]}, "4 boxes with NaN"),
        ("annotations", {"bbox": [1, float("inf"), 2, 3]}, "4 boxes with NaN"),
        ("annotations", {"bbox": [0.1, 0.2, 0.3, 0.3]}, "between 0 and 1"),
        ("annotations", {"bbox": [50, 40, 70, 55]}, r"look like \[x1, y1, x2, y2\]"),
        ("annotations", {"bbox": [5, 5, -3, 4]}, "no usable box is left"),
        ("annotations", {"bbox": [500, 5, 3, 4]}, "no usable box is left"),
        ("annotations", {"iscrowd": 1}, "every box is a crowd"),
        ("images", {"id": 7}, "2 images that share their id"),
        ("images", {"width": 20}, "smaller than the required 32 pixels"),
        ("categories", {"name": "cat"}, "names of more than one category: 'cat'"),
        ("categories", {"name": lambda name: name.title()}, "none of the file's classes"),
        (
            "categories",
            {"name": lambda name: name.replace("dog", "Dog")},
            "'Dog' .2 boxes. for 'dog'",
        ),
    ],
)
def test_errors_are_found(content, kind, changes, told):
    edited(content[kind], **changes)
    import re

    assert any(re.search(told, text) for text in texts(check_annotations(content, CLASSES, 32)))


def test_what_is_dropped_is_a_warning_with_its_first_places(content):
    content["annotations"][0]["bbox"] = [10, 5, 0, 3]
    content["annotations"][1]["bbox"] = [70, 5, 20, 3]
    content["annotations"][2]["category_id"] = 99
    found = check_annotations(content, (*CLASSES, "umbrella"))
    assert not texts(found)
    told = " ".join(texts(found, "warning"))
    for part in ("annotation 1", "annotation 2", "99", "umbrella"):
        assert part in told


def test_empty_sets_are_errors(content):
    assert texts(check_annotations(content | {"images": []}, CLASSES))
    assert texts(check_annotations(content | {"annotations": []}, CLASSES))


def test_every_kind_of_bad_image_is_found_and_fixed(content, tmp_path):
    base = content["images"][0]
    for number, name in enumerate(
        ("empty.jpg", "text.jpg", "cut.jpg", "half.jpg", "turned.jpg", "gone.jpg"), 10
    ):
        content["images"].append(base | {"id": number, "file_name": name})
        content["annotations"].append(
            content["annotations"][0] | {"id": number, "image_id": number}
        )
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    whole = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with Image.open(tmp_path / "1.jpg") as image:
        image.resize((40, 30)).save(tmp_path / "half.jpg")
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(tmp_path / "turned.jpg", exif=exif)
    told = " ".join(texts(check_images(content, tmp_path, decode=True)))
    for image in content["images"][2:]:
        assert image["file_name"] in told
    assert "1.jpg" not in told.replace("1.jpg: 60x80", "")
    quick = " ".join(texts(check_images(content, tmp_path)))
    assert "cut.jpg" not in quick
    assert "empty.jpg" in quick
    fixed, changes = fix(content, tmp_path)
    assert changes
    assert not texts(check_images(fixed, tmp_path, decode=True))
    assert not texts(check_annotations(fixed, CLASSES))
    assert {"1.jpg", "2.jpg"} <= {image["file_name"] for image in fixed["images"]}


def test_an_image_in_two_parts_is_found_by_name_and_by_content(content, tmp_path):
    first = content | {"images": content["images"][:1]}
    second = content | {"images": content["images"][1:]}
    assert not list(
        check_parts({"train": (first, tmp_path), "val": (second, tmp_path)}, pixels=True)
    )
    assert list(check_parts({"train": (content, tmp_path), "val": (second, tmp_path)}))
    (tmp_path / "copy.jpg").write_bytes((tmp_path / "1.jpg").read_bytes())
    copied = content | {"images": [content["images"][0] | {"file_name": "copy.jpg"}]}
    parts = {"train": (first, tmp_path), "val": (copied, tmp_path)}
    assert not list(check_parts(parts))
    assert "copy.jpg" in str(next(iter(check_parts(parts, pixels=True))))


def loader(tmp_path, **dataset):
    inner = {
        "type": "CocoDataset",
        "data_root": str(tmp_path),
        "ann_file": "a.json",
        "data_prefix": {"img": ""},
        "metainfo": {"classes": CLASSES},
        "filter_cfg": {"min_size": 32},
    }
    return {"dataset": {"type": "RepeatDataset", "times": 2, "dataset": inner | dataset}}


def test_a_run_is_refused_before_its_first_step_with_file_and_entry(content, tmp_path):
    path = written(content, tmp_path / "a.json")
    check_run_data({"train_dataloader": loader(tmp_path)})
    (tmp_path / "2.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{path}: 1 empty image files: .*2\.jpg"):
        check_run_data({"train_dataloader": loader(tmp_path)})
    with pytest.raises(ValueError, match=r"none of the file's classes \(cat, dog\).*\(ant, bee\)"):
        check_run_data({"val_dataloader": loader(tmp_path, metainfo={"classes": ("ant", "bee")})})


def test_labels_are_matched_by_name_and_missing_fields_filled(content, tmp_path):
    """Perfect predictions score 1.0 whatever the order and number of the file's categories."""
    import torch
    from mmdet.datasets import CocoDataset
    from mmdet.evaluation import CocoMetric

    content["categories"] = [{"id": 9, "name": "bird"}, *content["categories"][::-1]]
    for box in content["annotations"]:
        del box["area"], box["iscrowd"], box["id"]
    path = written(content, tmp_path / "a.json")
    classes = ("zebra", "cat", "ant", "dog")
    dataset = CocoDataset(
        ann_file=str(path),
        data_prefix={"img": str(tmp_path)},
        metainfo={"classes": classes},
        pipeline=[],
    )
    metric = CocoMetric(ann_file=str(path), classwise=True)
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        boxes = [instance["bbox"] for instance in info["instances"]]
        labels = [instance["bbox_label"] for instance in info["instances"]]
        assert {classes[label] for label in labels} <= set(CLASSES)
        pred = {
            "bboxes": torch.tensor(boxes, dtype=torch.float32),
            "scores": torch.ones(len(boxes)),
            "labels": torch.tensor(labels),
        }
        metric.process(
            {}, [{"img_id": info["img_id"], "ori_shape": (60, 80), "pred_instances": pred}]
        )
    figures = metric.evaluate(len(dataset))
    assert figures["coco/bbox_mAP"] == 1
    assert figures["coco/cat_precision"] == figures["coco/dog_precision"] == 1
    assert np.isnan(figures["coco/zebra_precision"])


def test_polygons_are_read_only_where_masks_are_asked_for(content, tmp_path):
    polygon = [[1.5, 2, 30, 4e0], [5, 6]]
    for place, annotation in enumerate(content["annotations"]):
        mine = {"segmentation": polygon}
        annotation = {**mine, **annotation} if place % 2 else {**annotation, **mine}
        content["annotations"][place] = annotation
    content["images"][0]["file_name"] = '"segmentation": [1], "x.jpg'
    path = written(content, tmp_path / "a.json")
    assert read_and_repair(path)[0] == content
    for annotation in content["annotations"][1::2]:
        del annotation["segmentation"]  # the last key stays: nothing shows where it ends
    assert read_and_repair(path, masks=False)[0] == content


def test_the_next_reader_takes_what_was_kept_unless_the_file_has_changed(content, tmp_path):
    path = written(content, tmp_path / "a.json")
    kept = read_and_repair(path, keep=True)
    assert read_and_repair(path)[0] is kept[0]
    assert read_and_repair(path)[0] is not kept[0]
    read_and_repair(path, keep=True)
    content["images"].pop()
    written(content, path)
    assert read_and_repair(path)[0]["images"] == content["images"]
