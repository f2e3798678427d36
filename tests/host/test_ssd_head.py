"""mmdet's SSD head predicts."""

import sys

import pytest
import torch
from mmdet.models.dense_heads import SSDHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict

from shufflenet_det.host import import_hooks

SIDES = (38, 19, 10, 5, 3, 1)  # SSD300's maps


@pytest.fixture
def head():
    torch.manual_seed(0)
    anchors = {
        "type": "SSDAnchorGenerator",
        "scale_major": False,
        "input_size": 300,
        "basesize_ratio_range": (0.15, 0.9),
        "strides": [8, 16, 32, 64, 100, 300],
        "ratios": [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
    }
    test_cfg = {
        "nms_pre": 100,
        "nms": {"type": "nms", "iou_threshold": 0.45},
        "min_bbox_size": 0,
        "score_thr": 0.02,
        "max_per_img": 20,
    }
    head = {"type": "SSDHead", "num_classes": 3, "in_channels": (8,) * len(SIDES)}
    return MODELS.build(ConfigDict(head, anchor_generator=anchors, test_cfg=test_cfg)).eval()


def test_it_predicts_boxes_in_the_image(head):
    maps = tuple(torch.randn(2, 8, side, side) for side in SIDES)
    meta = {"img_shape": (300, 300), "ori_shape": (150, 150), "scale_factor": (2.0, 2.0)}
    samples = [DetDataSample(metainfo=meta) for _ in range(2)]
    with torch.no_grad():
        predictions = head.predict(maps, samples, rescale=True)
    for prediction in predictions:
        assert 0 < len(prediction.scores) <= 20
        assert ((0.02 < prediction.scores) & (prediction.scores <= 1)).all()
        assert prediction.labels.max() < 3
        assert prediction.bboxes.min() >= 0
        assert prediction.bboxes.max() <= 150


def test_an_existing_attribute_is_kept(monkeypatch):
    monkeypatch.setattr(SSDHead, "loss_cls", "mmdet's own")
    import_hooks._let_ssd_predict(sys.modules[SSDHead.__module__])
    assert SSDHead.loss_cls == "mmdet's own"


def test_the_loss_of_an_instance_takes_precedence(head):
    head.loss_cls = "a subclass's own"
    import_hooks._let_ssd_predict(sys.modules[SSDHead.__module__])
    assert head.loss_cls == "a subclass's own"
