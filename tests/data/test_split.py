"""A split keeps its fractions, classes and groups, and repeats with its seed."""

from collections import Counter

import cv2
import numpy as np
import pytest

from shufflenet_det.data.split import near_duplicates, split


def made(images=100, classes=3):
    random = np.random.default_rng(0)
    content = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": number, "name": str(number)} for number in range(classes)]
    for number in range(images):
        content["images"].append(
            {"id": number, "file_name": f"{number // 4}_{number}.jpg", "width": 9, "height": 9}
        )
        for label in random.choice(classes, random.integers(0, 5), p=[0.8, 0.15, 0.05]):
            box = {"id": len(content["annotations"]), "image_id": number}
            content["annotations"].append(box | {"category_id": int(label), "bbox": [1, 1, 2, 2]})
    return content


def test_fractions_hold_for_images_and_for_every_class():
    content = made(400)
    parts = split(content, {"train": 0.7, "val": 0.2, "test": 0.1})
    ids = [image["id"] for part in parts.values() for image in part["images"]]
    assert sorted(ids) == list(range(400))
    total = Counter(box["category_id"] for box in content["annotations"])
    for part, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
        assert abs(len(parts[part]["images"]) - share * 400) <= 4
        counts = Counter(box["category_id"] for box in parts[part]["annotations"])
        for label, n in total.items():
            assert abs(counts[label] - share * n) <= max(3, 0.06 * n)


def test_groups_stay_together_and_seeds_repeat():
    content = made()
    options = {"group_by": r"^(\d+)_"}
    parts = split(content, {"train": 0.5, "val": 0.5}, **options)
    groups = [{i["file_name"].split("_")[0] for i in part["images"]} for part in parts.values()]
    assert not groups[0] & groups[1]
    assert parts == split(content, {"train": 0.5, "val": 0.5}, **options)
    assert parts != split(content, {"train": 0.5, "val": 0.5}, seed=1, **options)


def test_near_duplicates_are_found_and_stay_in_one_part(tmp_path):
    random = np.random.default_rng(0)
    content = made(8)
    for number in range(0, 8, 2):
        coarse = cv2.resize(random.integers(0, 256, (8, 9, 3), np.uint8), (90, 80))
        names = [content["images"][number + i]["file_name"] for i in range(2)]
        cv2.imwrite(str(tmp_path / names[0]), coarse)
        cv2.imwrite(str(tmp_path / names[1]), cv2.resize(coarse, (60, 50)), [1, 60])
    paths = [tmp_path / image["file_name"] for image in content["images"]]
    assert near_duplicates(paths) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    parts = split(content, {"train": 0.5, "val": 0.5}, root=tmp_path)
    for part in parts.values():
        assert len({image["id"] // 2 for image in part["images"]}) == len(part["images"]) / 2


@pytest.mark.parametrize("fractions", [{"train": 0.5, "val": 0.4}, {"train": 1.0, "val": 0.0}])
def test_fractions_that_do_not_add_up(fractions):
    with pytest.raises(ValueError, match="add up to 1"):
        split(made(), fractions)


def test_fewer_images_than_parts():
    with pytest.raises(ValueError, match="cannot be split"):
        split(made(1), {"train": 0.5, "val": 0.5})
