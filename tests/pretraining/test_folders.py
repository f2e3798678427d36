"""Folders of images by class: what is read, and what is said of a wrong one."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from shufflenet_det.pretraining import ImageFolder, UnreadableImageError, require_image_folders

RESIZE = [
    {"type": "torchvision.transforms.v2.Resize", "size": 36},
    {"type": "torchvision.transforms.v2.CenterCrop", "size": 32},
]


def test_an_item_is_torchvisions_in_bgr(images):
    dataset = ImageFolder(str(images / "train"), RESIZE)
    assert len(dataset) == 12
    reference = transforms.Compose([transforms.Resize(36), transforms.CenterCrop(32)])
    for index, (path, label) in enumerate(dataset.samples):
        item = dataset[index]
        rgb = np.asarray(reference(Image.open(path)))
        assert np.array_equal(item["inputs"].permute(1, 2, 0).numpy(), rgb[..., ::-1])
        assert item["data_samples"] == label == "abc".index(path.split("/")[-2])


def test_grey_images_and_images_with_alpha_are_read(tmp_path):
    for mode in ("L", "RGBA", "P"):
        (tmp_path / mode).mkdir()
        Image.new(mode, (40, 50)).save(tmp_path / mode / "0.png")
    dataset = ImageFolder(str(tmp_path), RESIZE)
    assert {tuple(dataset[i]["inputs"].shape) for i in range(3)} == {(3, 32, 32)}


def test_classes_are_in_the_order_of_their_names(images):
    """As ImageNet's synsets are numbered."""
    assert ImageFolder(str(images / "val"), RESIZE).metainfo == {"classes": ("a", "b", "c")}


@pytest.fixture
def copy(images, tmp_path):
    """The folder, to spoil."""
    return shutil.copytree(images, tmp_path / "images")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("content", ["no image", "half an image"])
def test_a_damaged_image_is_named(copy, content, workers):
    path = copy / "train" / "b" / "1.png"
    data = path.read_bytes()
    path.write_bytes(b"text" if content == "no image" else data[: len(data) // 2])
    loader = DataLoader(ImageFolder(str(copy / "train"), RESIZE), num_workers=workers)
    with pytest.raises(UnreadableImageError) as raised:
        list(loader)
    assert re.search(r"'.*/train/b/1\.png' is damaged", str(raised.value).splitlines()[-1])


def require(root, num_classes=3):
    require_image_folders([str(root / "train"), str(root / "val")], num_classes)


def test_a_whole_folder_is_taken(copy):
    (copy / "train" / "a" / "deeper").mkdir()
    (copy / "val" / "readme.txt").write_text("a file beside the classes")
    require(copy)


def emptied(folder):
    for path in folder.iterdir():
        path.unlink()
    (folder / "notes.txt").write_text("no image")


SPOILT = {
    "no val": (lambda r: shutil.rmtree(r / "val"), r"looked for '.*/val'.*--data-root.*--demo"),
    "no train": (lambda r: shutil.rmtree(r / "train"), r"looked for '.*/train'"),
    "val without classes": (
        lambda r: [shutil.rmtree(r / "val" / c) for c in "abc"],
        r"'.*/val' has no folder for each class.*val/CLASS",
    ),
    "an empty class": (
        lambda r: emptied(r / "val" / "b"),
        r"'.*/val' has no image in 1 of its 3 classes: b$",
    ),
    "a class more": (
        lambda r: shutil.copytree(r / "val" / "a", r / "val" / "aa"),
        r"'.*/train' and '.*/val' must have the same classes, and 'aa' is in one alone",
    ),
    "another class": (
        lambda r: (r / "val" / "c").rename(r / "val" / "d"),
        r"must have the same classes, and 'c' is in one alone",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_wrong_folder_is_one_sentence(copy, case):
    spoil, words = SPOILT[case]
    spoil(copy)
    with pytest.raises((FileNotFoundError, ValueError), match=words) as raised:
        require(copy)
    assert len(str(raised.value).splitlines()) == 1


def test_another_number_of_classes_is_refused(copy):
    with pytest.raises(ValueError, match=r"'.*/train' has 3 classes, and the classifier 1000"):
        require(copy, 1000)
