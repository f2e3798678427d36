"""The published results: against the papers' tables written another way, what the papers say of
them, the installed packages' own metadata, and networks that are built and counted."""

import dataclasses
import re
from itertools import pairwise
from pathlib import Path

import mmdet
import pytest
import torch
import yaml
from mmdet.registry import MODELS
from mmengine.config import Config
from torchvision.models import get_model, get_model_weights

from shufflenet_det.backbones import ShuffleNetV2
from shufflenet_det.experiments import ANCHORS, PUBLISHED, V1_TABLE_7, V2_TABLE_7

BY_KEY = {result.key: result for result in PUBLISHED}
CONFIGS = Path(mmdet.__file__).parent / ".mim" / "configs"
every_result = pytest.mark.parametrize("result", PUBLISHED, ids=lambda result: result.key)

# V1, Table 7, as far as the authors ran it.
V1_AS_PRINTED = """
    ShuffleNet 2x (g=3)                 18.7%  25.0%
    ShuffleNet 1x (g=3)                 14.5%  19.8%
    1.0 MobileNet-224 (our impl.)       14.9%  19.3%
"""
# V2, Table 7, by column: (mmAP, images/s) of Xception, V1, MobileNetV2, V2, V2*.
V2_BY_COLUMN = {
    40: [(21.9, 178), (20.9, 152), (20.7, 146), (22.5, 188), (23.7, 183)],
    140: [(29.0, 131), (27.0, 85), (24.4, 111), (29.0, 146), (29.6, 138)],
    300: [(31.3, 101), (29.9, 76), (30.0, 94), (31.8, 109), (32.2, 105)],
    500: [(32.9, 83), (32.9, 60), (30.6, 72), (33.3, 87), (34.2, 83)],
}
WIDTH = {40: "0.5x", 140: "1x", 300: "1.5x", 500: "2x"}


def v2(name, column):
    of_width = name.startswith("shufflenet")
    return BY_KEY[f"v2/{name}_{WIDTH[column] if of_width else f'{column}m'}"]


def test_v1_is_as_printed():
    printed = [re.findall(r"([\d.]+)%", line) for line in V1_AS_PRINTED.strip().splitlines()]
    names = ("shufflenet_2x", "shufflenet_1x", "mobilenet")
    for name, (at_300, at_600) in zip(names, printed, strict=True):
        assert BY_KEY[f"v1/{name}_300"].mAP == float(at_300)
        assert BY_KEY[f"v1/{name}_600"].mAP == float(at_600)
    assert len(V1_TABLE_7) == 6


def test_v1_is_compared_with_the_mobilenet_of_about_its_cost():
    # Section 4.4: 2x costs about as much as MobileNet, 1x about a fourth.
    large, small, mobilenet = (
        BY_KEY[f"v1/{name}_600"].backbone_multiply_adds
        for name in ("shufflenet_2x", "shufflenet_1x", "mobilenet")
    )
    assert large == pytest.approx(mobilenet, rel=0.1)
    assert small == pytest.approx(mobilenet / 4, rel=0.05)
    # Scale factor s: complexity of about s squared (Section 3.3).
    assert large == pytest.approx(4 * small, rel=0.1)


@pytest.mark.parametrize("column", V2_BY_COLUMN)
def test_v2_is_as_printed(column):
    names = ("xception", "shufflenetv1", "mobilenetv2", "shufflenetv2", "shufflenetv2star")
    results = [v2(name, column) for name in names]
    assert [(r.mAP, r.images_per_second) for r in results] == V2_BY_COLUMN[column]
    assert {r.backbone_multiply_adds for r in results} == {column}
    assert len(V2_TABLE_7) == len(names) * len(V2_BY_COLUMN)


@pytest.mark.parametrize("column", V2_BY_COLUMN)
def test_v2_is_best_and_the_larger_receptive_field_better(column):
    rows = [r for r in V2_TABLE_7 if r.backbone_multiply_adds == column]
    star, plain = v2("shufflenetv2star", column), v2("shufflenetv2", column)
    others = [r for r in rows if r not in (star, plain)]
    assert 0.4 <= round(star.mAP - plain.mAP, 1) <= 1.2
    assert plain.mAP >= max(r.mAP for r in others)
    assert plain.images_per_second > star.images_per_second
    assert star.images_per_second >= max(r.images_per_second for r in others)


def test_v2_is_faster_by_what_the_paper_says():
    # "about 40% faster than ShuffleNet v1 and 16% faster than MobileNet v2": at 300M.
    speed = v2("shufflenetv2", 300).images_per_second
    assert round(speed / v2("mobilenetv2", 300).images_per_second, 2) == 1.16
    assert speed / v2("shufflenetv1", 300).images_per_second == pytest.approx(1.4, abs=0.05)


@pytest.mark.parametrize("name", sorted({r.key.rpartition("_")[0] for r in V2_TABLE_7}))
def test_wider_is_better_and_slower(name):
    rows = [r for r in V2_TABLE_7 if r.key.startswith(f"{name}_")]
    assert len(rows) == 4
    for narrow, wide in pairwise(rows):
        assert narrow.backbone_multiply_adds < wide.backbone_multiply_adds
        assert narrow.mAP < wide.mAP
        assert narrow.images_per_second > wide.images_per_second


def test_keys_are_unique_and_can_be_typed():
    assert PUBLISHED == (*V1_TABLE_7, *V2_TABLE_7, *ANCHORS)
    assert len(BY_KEY) == len(PUBLISHED)
    assert all(re.fullmatch(r"[a-z0-9]+/[a-z0-9_.]+", key) for key in BY_KEY)


@every_result
def test_results_are_complete_and_in_their_units(result):
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.mAP = 50.0
    assert result.detector and result.backbone and result.source
    assert re.fullmatch(r"\d+(x\d+)?", result.size)
    assert result.split in {
        *("minival", "val2017", "minival8k", "test-dev", "test-dev2015", "not stated")
    }
    assert 10 < result.mAP < 60
    # Millions: from NanoDet-m 0.5x to the Faster R-CNN and the SSD of 2016.
    assert result.multiply_adds is None or 100 < result.multiply_adds < 40_000
    assert result.backbone_multiply_adds is None or 30 < result.backbone_multiply_adds < 4000
    assert result.parameters is None or 0.2 < result.parameters < 40
    # Never both costs, which are of different images.
    assert None in (result.multiply_adds, result.backbone_multiply_adds)


def test_costs_grow_with_the_square_of_the_side():
    pairs = 0
    for small in PUBLISHED:
        for large in PUBLISHED:
            same = small.detector == large.detector and small.backbone == large.backbone
            one_stage = "x" not in small.size and not small.detector.startswith("Faster")
            if not (same and one_stage and small.flops and large.flops):
                continue
            ratio = (int(large.size) / int(small.size)) ** 2
            if ratio > 1:
                assert large.flops / small.flops == pytest.approx(ratio, rel=0.04)
                assert large.mAP > small.mAP
                assert large.parameters == small.parameters
                pairs += 1
    assert pairs >= 10


@pytest.mark.parametrize(
    "name", [r.key.partition("/")[2] for r in ANCHORS if r.key.startswith("torchvision/")]
)
def test_torchvisions_are_torchvisions(name):
    result, meta = BY_KEY[f"torchvision/{name}"], get_model_weights(name).COCO_V1.meta
    assert result.mAP == meta["_metrics"]["COCO-val2017"]["box_map"]
    assert result.parameters == round(meta["num_params"] / 1e6, 2)
    if result.flops is None:
        assert f"{meta['_ops']} G" in result.remark
    else:
        assert result.flops == round(1000 * meta["_ops"])


@pytest.mark.parametrize(
    ("key", "file", "model"),
    [
        ("mmdet/ssd_vgg16_300", "ssd", "ssd300_coco"),
        ("mmdet/ssd_vgg16_512", "ssd", "ssd512_coco"),
        ("mmdet/ssdlite_mobilenetv2_320", "ssd", "ssdlite_mobilenetv2-scratch_8xb24-600e_coco"),
        ("mmdet/yolov3_mobilenetv2_320", "yolo", "yolov3_mobilenetv2_8xb24-320-300e_coco"),
        ("mmdet/yolov3_mobilenetv2_416", "yolo", "yolov3_mobilenetv2_8xb24-ms-416-300e_coco"),
        ("rtmdet/tiny_640", "rtmdet", "rtmdet_tiny_8xb32-300e_coco"),
        ("rtmdet/s_640", "rtmdet", "rtmdet_s_8xb32-300e_coco"),
    ],
)
def test_mmdets_are_mmdets(key, file, model):
    models = yaml.safe_load((CONFIGS / file / "metafile.yml").read_text())["Models"]
    (entry,) = (m for m in models if m["Name"] == model)
    published, result = entry["Results"][0]["Metrics"]["box AP"], BY_KEY[key]
    assert published == result.mAP or f"{published} in metafile.yml" == result.remark


@pytest.mark.parametrize(
    ("key", "config", "tolerance"),  # the last is of a figure with one digit
    [
        ("yolox/nano_416", "yolox/yolox_nano_8xb8-300e_coco.py", 0.04),
        ("yolox/tiny_416", "yolox/yolox_tiny_8xb8-300e_coco.py", 0.01),
        ("rtmdet/tiny_640", "rtmdet/rtmdet_tiny_8xb32-300e_coco.py", 0.01),
        ("mobilenetv2/ssdlite_320", "ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py", 0.08),
    ],
)
def test_what_a_source_counts_as_a_flop_is_told(key, config, tolerance, multiply_adds):
    result, side = BY_KEY[key], int(BY_KEY[key].size)
    model = MODELS.build(Config.fromfile(CONFIGS / config).model).eval()
    counted = multiply_adds(model, torch.zeros(1, 3, side, side)) / 1e6
    assert result.multiply_adds == pytest.approx(counted, rel=tolerance)
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    assert result.parameters == pytest.approx(parameters, rel=0.03)


def test_torchvisions_two_stage_figure_is_without_the_roi_head(multiply_adds):
    models = {
        name: get_model(name, weights=None, weights_backbone=None).eval()
        for name in ("ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn")
    }
    # With random weights, how many proposals are left apart is chance.
    models["fasterrcnn_mobilenet_v3_large_320_fpn"].rpn.nms_thresh = 1.0
    image = [torch.zeros(3, 320, 320)]
    one_stage, two_stage = (multiply_adds(m, image) / 1e6 for m in models.values())
    result = BY_KEY["torchvision/ssdlite320_mobilenet_v3_large"]
    assert result.multiply_adds == pytest.approx(one_stage, abs=0.5)
    remark = BY_KEY["torchvision/fasterrcnn_mobilenet_v3_large_320_fpn"].remark
    without, head, proposals = map(float, re.findall(r"[\d.]+", remark))
    assert two_stage == pytest.approx(1000 * (without + head), abs=5)
    assert models["fasterrcnn_mobilenet_v3_large_320_fpn"].rpn.post_nms_top_n() == proposals


@pytest.mark.parametrize("side", [320, 416])
def test_nanodets_flops_are_two_a_multiply_add(side, multiply_adds):
    """Its config: 1x1 convolutions to 96 channels, two depthwise pairs, 80 classes and 32 bins."""
    result = BY_KEY[f"nanodet/m_{side}"]
    backbone = ShuffleNetV2(1.0).eval()
    counted = multiply_adds(backbone, torch.zeros(1, 3, side, side))
    parameters = sum(p.numel() for p in backbone.parameters())
    for channels, stride in zip(backbone.out_channels, backbone.out_strides, strict=True):
        weights = channels * 96 + 2 * (9 * 96 + 96 * 96) + 96 * (80 + 32)
        counted += weights * (side // stride) ** 2
        parameters += weights
    assert result.multiply_adds == pytest.approx(counted / 1e6, rel=0.06)
    assert result.parameters == pytest.approx(parameters / 1e6, rel=0.02)


@pytest.mark.parametrize(
    "result",
    [r for r in ANCHORS if r.is_shufflenet and r.multiply_adds and "SNet" not in r.backbone],
    ids=lambda result: result.key,
)
def test_a_detector_costs_more_than_its_shufflenet(result, multiply_adds):
    factor = float(re.search(r"([\d.]+)x", result.backbone)[1]) if "x" in result.backbone else 1.0
    image = torch.zeros(1, 3, int(result.size), int(result.size), device="meta")
    with torch.device("meta"):
        backbone = ShuffleNetV2(factor).eval()
    assert multiply_adds(backbone, image) / 1e6 < result.multiply_adds
