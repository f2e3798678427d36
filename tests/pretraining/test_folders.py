"""Folders of images by class: reading them, and the errors for invalid ones."""

import shutil

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from shufflenet_det.pretraining import ImageFolder, load_pretrain_config, pretrain

RESIZE = [
    {"type": "torchvision.transforms.v2.Resize", "size": 36},
    {"type": "torchvision.transforms.v2.CenterCrop", "size": 32},
]


def test_an_item_is_torchvisions_in_bgr(images):
    dataset = ImageFolder(str(images / "train"), RESIZE)
    assert len(dataset) == 12 and dataset.metainfo == {"classes": ("a", "b", "c")}
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


SPOILT = {
    "no val": (lambda r: shutil.rmtree(r / "val"), r"'.*/val' not found.*--data-root.*--demo"),
    "no train": (lambda r: shutil.rmtree(r / "train"), r"'.*/train' not found"),
    "val without classes": (
        lambda r: [shutil.rmtree(r / "val" / c) for c in "abc"],
        r"any class folder in .*/val",
    ),
    "an empty class": (
        lambda r: [path.unlink() for path in (r / "val" / "b").iterdir()],
        r"no valid file for the classes b",
    ),
    "a class more": (
        lambda r: shutil.copytree(r / "val" / "a", r / "val" / "aa"),
        r"'.*/train' and '.*/val' must have the same classes, but only one of them has 'aa'",
    ),
}


@pytest.mark.parametrize("case", SPOILT)
def test_an_invalid_folder_is_named(images, config, tmp_path, case):
    copy = shutil.copytree(images, tmp_path / "images")
    spoil, words = SPOILT[case]
    spoil(copy)
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        pretrain(load_pretrain_config(config, data_root=str(copy)))
