"""Train and test a detector on labelled folders that other libraries have written."""

import json
import shutil

import cv2
import numpy as np
import pytest
import supervision as sv
from globox import AnnotationSet
from mmengine.config import Config

from shufflenet_det import Detector
from shufflenet_det.cli import run_tool
from shufflenet_det.training import load_run_config
from shufflenet_det.training.own_data import config_for_folder

CLASSES = ["disc", "box"]
TINY = (
    "model.init_cfg=None",
    "model.backbone.widen_factor=0.5",
    "model.neck.in_channels=48,96,192",
    "train_dataloader.dataset.pipeline.2.scale=96,96",
    "val_dataloader.dataset.pipeline.1.scale=96,96",
    "test_dataloader.dataset.pipeline.1.scale=96,96",
    "train_dataloader.num_workers=0",
    "val_dataloader.num_workers=0",
    "train_cfg.max_epochs=1",
    "train_cfg.val_interval=1",
    "param_scheduler.0.end=1",
    "model.test_cfg.score_thr=0.0",
)


def as_coco(folder):
    pass


def as_voc(folder):
    AnnotationSet.from_coco(folder / "labels.json").save_pascal_voc(folder / "Annotations")


def as_labelme(folder):
    AnnotationSet.from_coco(folder / "labels.json").save_labelme(folder / "labels")


def as_cvat(folder):
    AnnotationSet.from_coco(folder / "labels.json").save_cvat(folder / "annotations.xml")


def as_yolo(folder):
    dataset = sv.DetectionDataset.from_coco(str(folder / "images"), str(folder / "labels.json"))
    dataset.as_yolo(
        annotations_directory_path=str(folder / "labels"), data_yaml_path=str(folder / "data.yaml")
    )


WRITERS = (as_coco, as_voc, as_yolo, as_labelme, as_cvat)


@pytest.fixture(params=WRITERS, ids=lambda writer: writer.__name__)
def labelled(request, tmp_path):
    """Ten images of one object each."""
    folder = tmp_path / "mine"
    (folder / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
    }
    for i in range(10):
        image = random.integers(0, 60, (96, 128, 3), np.uint8)
        x, y, side = map(int, random.integers(8, 48, 3))
        if i % 2:
            cv2.rectangle(image, (x, y), (x + side, y + side), (40, 40, 220), -1)
        else:
            cv2.circle(image, (x + side // 2, y + side // 2), side // 2, (40, 220, 40), -1)
        cv2.imwrite(str(folder / "images" / f"{i}.png"), image)
        content["images"].append({"id": i, "file_name": f"{i}.png", "width": 128, "height": 96})
        box = {"bbox": [x, y, side, side], "area": side * side, "iscrowd": 0}
        content["annotations"].append({"id": i, "image_id": i, "category_id": i % 2, **box})
    (folder / "labels.json").write_text(json.dumps(content))
    request.param(folder)
    if request.param is not as_coco:
        (folder / "labels.json").unlink()
    return folder


def test_each_label_format_becomes_a_valid_config(labelled, tmp_path):
    config = config_for_folder(labelled, tmp_path / "run", "nanodet_plus_m_416")
    cfg = load_run_config(config, work_dir=str(tmp_path / "run"))
    assert cfg.model.bbox_head.num_classes == len(CLASSES)
    assert sorted(cfg.train_dataloader.dataset.metainfo.classes) == sorted(CLASSES)
    for part, images in (("train", 8), ("val", 2)):
        content = json.loads((config.parent / "data" / f"{part}.json").read_text())
        assert len(content["images"]) == len(content["annotations"]) == images
    assert config_for_folder("not read again", tmp_path / "run", "nanodet_plus_m_416") == config


@pytest.mark.parametrize("labelled", [as_yolo], indirect=True, ids=["yolo"])
def test_training_on_a_folder_writes_a_report_and_its_commands_work(labelled, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--data", str(labelled), "--work-dir", str(run), "--cfg-options", *TINY]
    assert run_tool("train", words) == 0
    page = (run / "report" / "report.html").read_text()
    assert all(name in page for name in CLASSES)
    shutil.rmtree(labelled)  # from here on, only the run's folder is needed
    printed = [
        line.partition("shufflenet-det ")[2].split()
        for line in capsys.readouterr().out.splitlines()
        if line.startswith(("detect:", "next "))
    ]
    images = next((run / "data" / "images").rglob("*.png")).parent
    known = {"IMAGES": str(images), "drawn": str(tmp_path / "drawn")}
    assert sorted(command[0] for command in printed) == ["predict", "test"]
    for command, *rest in printed:
        assert run_tool(command, [known.get(word, word) for word in rest]) == 0
    assert len(list((tmp_path / "drawn").rglob("*.png"))) == 10
    best = next(run.glob("best_*.pth"))
    assert sorted(Detector(best).classes) == sorted(CLASSES)
    assert Config.fromfile(run / "config.py").model.backbone.widen_factor == 0.5
