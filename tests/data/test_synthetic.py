"""The synthetic data, read back with pycocotools, mmdet and torchvision."""

import os
from itertools import combinations

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from shufflenet_det.data import make_demo_classes, make_demo_dataset, synthetic
from shufflenet_det.data.synthetic import CATEGORIES, SHAPES, draw_scene

SIZES = {"train": 40, "val": 20}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    where = tmp_path_factory.mktemp("made") / "deeper" / "demo"
    return make_demo_dataset(where, train_images=SIZES["train"], val_images=SIZES["val"])


@pytest.fixture(scope="module")
def splits(root):
    return {s: COCO(root / "annotations" / f"instances_{s}2017.json") for s in SIZES}


def files_under(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("split", SIZES)
def test_images_are_the_files_and_have_the_stated_size(root, splits, split):
    images = splits[split].dataset["images"]
    assert len(images) == SIZES[split]
    assert sorted(os.listdir(root / f"{split}2017")) == sorted(i["file_name"] for i in images)
    for image in images:
        pixels = cv2.imread(str(root / f"{split}2017" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3)
    assert {(i["width"], i["height"]) for i in images} == {(256, 192), (192, 256)}


@pytest.mark.parametrize("split", SIZES)
def test_boxes_and_areas_are_those_of_the_masks_and_no_pixel_has_two_objects(splits, split):
    coco = splits[split]
    for image_id in coco.imgs:
        masks = [coco.annToMask(ann) for ann in coco.imgToAnns[image_id]]
        for mask, ann in zip(masks, coco.imgToAnns[image_id], strict=True):
            y, x = np.nonzero(mask)
            tight = [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
            assert ann["bbox"] == tight and ann["area"] == mask.sum() >= 24
        assert not masks or sum(mask.astype(int) for mask in masks).max() == 1


def test_what_a_data_set_has_is_there(splits):
    """Empty images, crowds, all three sizes of COCO's evaluation, every category, unique ids."""
    for coco in splits.values():
        anns = coco.dataset["annotations"]
        assert any(not coco.imgToAnns[number] for number in coco.imgs)
        assert {ann["iscrowd"] for ann in anns} == {0, 1}
        assert {coco.cats[ann["category_id"]]["name"] for ann in anns} == set(CATEGORIES)
        areas = [ann["area"] for ann in anns]
        assert np.histogram(areas, [0, 32**2, 96**2, np.inf])[0].min() > 0
    ids = [ann["id"] for coco in splits.values() for ann in coco.dataset["annotations"]]
    assert len(set(ids)) == len(ids)


def test_mmdet_reads_it_with_cocos_categories(root, splits):
    from mmdet.datasets import CocoDataset

    dataset = CocoDataset(
        ann_file="annotations/instances_val2017.json",
        data_root=str(root),
        data_prefix={"img": "val2017/"},
        pipeline=[{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations", "with_mask": True}],
    )
    coco = splits["val"]
    assert len(dataset) == SIZES["val"]
    categories = coco.dataset["categories"]
    assert tuple(c["name"] for c in categories) == CocoDataset.METAINFO["classes"]
    assert categories[-1] == {"supercategory": "indoor", "id": 90, "name": "toothbrush"}
    for item in dataset:
        anns = coco.imgToAnns[item["img_id"]]
        labels = [dataset.metainfo["classes"][label] for label in item["gt_bboxes_labels"]]
        assert labels == [coco.cats[ann["category_id"]]["name"] for ann in anns]
        for mask, ann in zip(item["gt_masks"].masks, anns, strict=True):
            assert np.array_equal(mask, coco.annToMask(ann))


@pytest.mark.parametrize("side", [64, 70, 90, 108])
def test_small_images_are_drawn_too(tmp_path, side):
    for seed in range(30):
        image, drawn = draw_scene(np.random.default_rng(seed), side, 64, 5, crowd=seed % 2 == 0)
        assert image.shape == (64, side, 3) and len(drawn) <= 6
    make_demo_dataset(tmp_path / "demo", train_images=4, val_images=2, width=side, height=64)


def test_equal_arguments_give_equal_files_and_more_images_leave_the_first(root, tmp_path):
    large = files_under(root)
    same = files_under(make_demo_dataset(tmp_path / "a", train_images=2, val_images=2))
    other = files_under(make_demo_dataset(tmp_path / "b", train_images=2, val_images=2, seed=1))
    images = [name for name in same if name.endswith(".jpg")]
    assert len(images) == 4
    for name in images:
        assert same[name] == large[name] != other[name]


def test_classes_are_balanced_and_read_by_torchvision(tmp_path):
    from torchvision.datasets import ImageFolder

    made = make_demo_classes(tmp_path / "classes", train_images=3, val_images=2)
    for split, count in (("train", 3), ("val", 2)):
        folder = ImageFolder(str(made / split))
        assert folder.classes == sorted(SHAPES)
        assert np.bincount(folder.targets).tolist() == [count] * 10
    images = [p.read_bytes() for p in made.rglob("*.jpg")]
    assert len(set(images)) == 50
    again = make_demo_classes(tmp_path / "again", train_images=3, val_images=2)
    assert files_under(again) == files_under(made)


def test_no_two_shapes_cover_the_same():
    masks = {}
    for name, outline in SHAPES.items():
        assert 0.9 < np.linalg.norm(outline, axis=1).max() < 1.25
        masks[name] = np.zeros((64, 64), np.uint8)
        cv2.fillPoly(masks[name], [np.rint(outline * 30 + 32).astype(np.int32)], 1)
    for (_, a), (_, b) in combinations(masks.items(), 2):
        assert (a & b).sum() / (a | b).sum() < 0.9


@pytest.mark.parametrize("make", [make_demo_dataset, make_demo_classes])
def test_a_set_is_used_again_and_anything_else_is_left_alone(tmp_path, make):
    few = {"train_images": 2, "val_images": 2}
    made = make(tmp_path / "made", **few)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    make(made, **few)
    for folder, options in ((made, {**few, "seed": 1}), (tmp_path / "mine", few)):
        with pytest.raises(FileExistsError, match="left as it is"):
            make(folder, **options)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert {p: t for p, t in after.items() if p.suffix != ".lock"} == {
        p: t for p, t in before.items() if p.suffix != ".lock"
    }


def test_an_interrupted_run_leaves_no_set_and_the_next_one_makes_it(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(synthetic, "_write_jpeg", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_demo_dataset(tmp_path / "demo", train_images=2, val_images=2)
    assert not (tmp_path / "demo").exists()
    (tmp_path / "demo").mkdir()  # an empty folder is filled
    make_demo_dataset(tmp_path / "demo", train_images=2, val_images=2)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["demo"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"train_images": 1}, "train_images must be 2 to 500000, got 1"),
        ({"val_images": 600_000}, "val_images must be 2 to 500000, got 600000"),
        ({"width": 63}, "got 63 and 192"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        make_demo_dataset(tmp_path / "demo", **wrong)
