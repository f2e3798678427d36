"""Small folders of images by class, and a config that trains on them in a second."""

import numpy as np
import pytest
from PIL import Image
from random_parts import random_image, write_images

CHILD = """
_base_ = '{root}/configs/pretrain/shufflenetv2_imagenet.py'
model = dict(num_classes=3, backbone=dict(widen_factor=0.5, init_cfg=None))
pipeline = [dict(type='torchvision.transforms.v2.Resize', size=(64, 64))]
train_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(pipeline=pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0, persistent_workers=False, dataset=dict(pipeline=pipeline))
train_cfg = dict(max_epochs=3, val_interval=1)
param_scheduler = [
    dict(type='PolyLR', power=1.0, end=3, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder of three classes: twelve images to train on, seven copies of one to validate on.

    So every classifier has two or three of the seven right.
    """
    root = tmp_path_factory.mktemp("images")
    write_images(root / "train", {"a": 5, "b": 4, "c": 3})
    image = Image.fromarray(random_image(np.random.default_rng(1), 50, 60))
    for name, count in {"a": 3, "b": 2, "c": 2}.items():
        (root / "val" / name).mkdir(parents=True)
        for i in range(count):
            image.save(root / "val" / name / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def config(root, tmp_path_factory):
    """A config for that folder: three steps an epoch, three epochs, nothing random."""
    path = tmp_path_factory.mktemp("config") / "small.py"
    path.write_text(CHILD.format(root=root))
    return str(path)
