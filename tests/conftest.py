"""Fixtures for all tests."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

# With small tensors, one thread per process is fastest, also in subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch.utils.flop_counter import FlopCounterMode

import shufflenet_det  # noqa: F401  # before anything of mmdet

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def mmdet_scope():
    """Use mmdet's default scope, even if an earlier test has set another."""
    init_default_scope("mmdet")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def python():
    """Run a new interpreter in the repository: ``python(*arguments, **run_kwargs)``."""

    def run(*arguments, check=True, **kwargs):
        kwargs = {"cwd": ROOT, "capture_output": True, "text": True} | kwargs
        done = subprocess.run([sys.executable, *map(str, arguments)], check=False, **kwargs)
        if check and done.returncode:
            printed = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            pytest.fail(f"{arguments} ended with {done.returncode}:\n{printed}")
        return done

    return run


@pytest.fixture(scope="session")
def multiply_adds():
    """Multiply-adds from torch's FLOP counter: ``multiply_adds(network, images, **kwargs)``."""

    def count(network, *arguments, **kwargs):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(*arguments, **kwargs)
        return counter.get_total_flops() / 2

    return count


@pytest.fixture
def tool(monkeypatch):
    """Run a script of ``tools/`` in this interpreter: ``tool("train.py", *arguments)``."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.setenv("LOCAL_RANK", "0")  # the scripts set it

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        try:
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise

    return run


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory) -> Path:
    """A synthetic data set, smaller than that of ``--demo``."""
    from shufflenet_det.data import make_demo_dataset

    where = tmp_path_factory.mktemp("data") / "demo"
    return make_demo_dataset(where, train_images=12, val_images=4)


@pytest.fixture(scope="session")
def own_data(tmp_path_factory) -> Path:
    """A folder with ``data/mine`` for configs/own_dataset.py: two classes, six images."""
    where = tmp_path_factory.mktemp("own")
    mine = where / "data" / "mine"
    (mine / "images").mkdir(parents=True)
    categories = [{"id": 7, "name": "helmet"}, {"id": 14, "name": "vest"}]
    for split, numbers in (("train", range(1, 5)), ("val", range(5, 7))):
        images, annotations = [], []
        for number in numbers:
            image = np.full((64, 96, 3), 40 * number, np.uint8)
            cv2.rectangle(image, (10, 10), (59, 49), (0, 0, 255), -1)
            cv2.imwrite(str(mine / "images" / f"{number}.png"), image)
            images.append({"id": number, "file_name": f"{number}.png", "width": 96, "height": 64})
            box = {"bbox": [10, 10, 50, 40], "area": 2000, "iscrowd": 0, "segmentation": []}
            category = categories[number % 2]["id"]
            annotations.append({"id": number, "image_id": number, "category_id": category, **box})
        content = {"images": images, "annotations": annotations, "categories": categories}
        (mine / f"{split}.json").write_text(json.dumps(content))
    return where
