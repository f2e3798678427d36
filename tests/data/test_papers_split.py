"""The check that a folder is the papers' split of COCO."""

import json

import pytest

from shufflenet_det.data import COCO_2017, PAPERS_SPLIT, check_papers_split
from shufflenet_det.data.papers_split import Counts

SMALL = {"train2017": Counts(3, 5), "val2017": Counts(2, 1)}


@pytest.fixture
def folder(tmp_path):
    """A folder that is ``SMALL``, and its annotation files, to be changed and written again."""
    contents = {}
    for split, ids in (("train2017", (1, 2, 3)), ("val2017", (10, 11))):
        (tmp_path / split).mkdir()
        images = [{"id": i, "file_name": f"{i:012}.jpg"} for i in ids]
        for image in images:
            (tmp_path / split / image["file_name"]).touch()
        boxes = [{"image_id": ids[0], "id": i} for i in range(SMALL[split].boxes)]
        contents[split] = {"images": images, "annotations": boxes, "categories": []}

    def write():
        (tmp_path / "annotations").mkdir(exist_ok=True)
        for split, content in contents.items():
            path = tmp_path / "annotations" / f"instances_{split}.json"
            path.write_text(json.dumps(content))
        return tmp_path

    return contents, write


def test_the_papers_images_are_all_of_2014_but_minival():
    # COCO 2014 has 82,783 train and 40,504 val images; minival has 5000 of the latter.
    assert PAPERS_SPLIT["train2017"].images == 82_783 + 40_504 - 5_000
    assert PAPERS_SPLIT["val2017"].images == 5_000
    assert {name: COCO_2017[name].files for name in PAPERS_SPLIT} == {
        name: counts.images for name, counts in PAPERS_SPLIT.items()
    }


def test_what_fits_is_counted(folder):
    assert check_papers_split(folder[1](), SMALL) == SMALL


def share_an_image(contents):
    contents["val2017"]["images"][0]["id"] = 2


def repeat_an_image(contents):
    contents["train2017"]["images"][1]["id"] = 1


WRONG = {
    "train2017 has 2 images, not 3": lambda c: c["train2017"]["images"].pop(),
    "train2017 has 4 boxes, not 5": lambda c: c["train2017"]["annotations"].pop(),
    "val2017 has 2 boxes, not 1": lambda c: c["val2017"]["annotations"].append({"image_id": 11}),
    "1 images of val2017 are also in train2017": share_an_image,
    "train2017 has 1 repeated image ids": repeat_an_image,
    "1 boxes of val2017 have an unknown image": (
        lambda c: c["val2017"]["annotations"][0].update(image_id=1)
    ),
    "1 images are not in": lambda c: c["val2017"]["images"][1].update(file_name="lost.jpg"),
}


@pytest.mark.parametrize("problem", WRONG)
def test_what_does_not_fit_is_listed(problem, folder):
    contents, write = folder
    WRONG[problem](contents)
    root = write()
    with pytest.raises(ValueError) as raised:
        check_papers_split(root, SMALL)
    assert problem in str(raised.value) and str(root) in str(raised.value)


def test_a_small_set_in_cocos_layout_is_not_taken_for_coco(tool, demo_data, capsys):
    with pytest.raises(SystemExit) as ended:
        tool("check_dataset.py", demo_data)
    assert ended.value.code == 2
    assert "train2017 has 12 images, not 118,287" in capsys.readouterr().err


def test_a_missing_or_invalid_annotation_file_is_named(folder):
    root = folder[1]()
    with pytest.raises(FileNotFoundError, match=r"instances_train2017\.json.*download-coco"):
        check_papers_split(root / "train2017", SMALL)
    unfit = '{"images": [{"id": [1], "file_name": "a"}], "annotations": []}'
    deep = "[" * 100_000
    ids = ["1e400", "Infinity", "true", '"7"', "1.5"]
    odd = [f'{{"images": [{{"id": {i}, "file_name": "a"}}], "annotations": []}}' for i in ids]
    for text in (*odd, "{", "[]", "{}", '{"images": [], "annotations": [{"id": 1}]}', unfit, deep):
        (root / "annotations" / "instances_val2017.json").write_text(text)
        with pytest.raises(ValueError, match=r"instances_val2017\.json is not a COCO"):
            check_papers_split(root, SMALL)
