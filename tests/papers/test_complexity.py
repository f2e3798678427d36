"""Counts against closed forms, figures of torchvision and mmdet, and part by part."""

import socket
from copy import deepcopy
from pathlib import Path

import mmdet
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F
from torchvision.models import detection, get_model, get_model_weights
from torchvision.ops import DeformConv2d, roi_align

from shufflenet_det.papers.complexity import (
    Part,
    backbone_complexity,
    count,
    detector_complexity,
    proposals_of,
)

ROOT = Path(__file__).parent.parent.parent
CONFIGS = [
    "faster_rcnn_shufflenetv1_coco.py",
    "ssd300_shufflenet_coco.py",
    "bccd/ssdlite320_mobilenetv2_bccd.py",
    "paper_v1/mobilenet_600.py",
    "paper_v2/xception_40m.py",
    "pretrain/shufflenetv2_imagenet.py",
]
MMDETS = Path(mmdet.__file__).parent / ".mim/configs"
# The heads of mmdet's Faster R-CNN, at one RoI and 80 classes.
ROI_HEAD = 256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * (81 + 4 * 80)


def cost(network, *args):
    """Parameters and multiply-adds of a network."""
    *_, total = count(network, *args)
    return total.parameters, total.multiply_adds


def by_name(parts):
    return {part.name: part for part in parts}


@pytest.mark.parametrize("size", [(9, 13), (1, 1), (32, 32)])
@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "bias"),
    [(1, 1, 1, False), (3, 1, 1, True), (3, 2, 6, False), (1, 1, 3, True), (5, 2, 2, False)],
)
def test_a_convolution_has_its_closed_form(size, kernel, stride, groups, bias):
    conv = nn.Conv2d(6, 12, kernel, stride, kernel // 2, groups=groups, bias=bias)
    weights = 12 * 6 // groups * kernel**2
    cells = -(-size[0] // stride) * -(-size[1] // stride)
    expected = (weights + 12 * bias, weights * cells)
    assert cost(nn.Sequential(conv), torch.empty(1, 6, *size)) == expected


def test_matrix_products_have_their_closed_forms():
    assert cost(nn.Linear(7, 5), torch.empty(3, 7)) == (7 * 5 + 5, 3 * 7 * 5)
    assert cost(nn.ConvTranspose2d(4, 6, 2, 2), torch.empty(1, 4, 5, 3))[1] == 4 * 6 * 4 * 5 * 3

    class Product(nn.Module):
        def forward(self, a, b):
            return a @ b

    assert cost(Product(), torch.empty(2, 3, 4), torch.empty(2, 4, 5)) == (0, 2 * 3 * 4 * 5)


def test_a_deformable_convolution_counts_as_a_plain_one():
    conv = DeformConv2d(4, 6, 3, stride=2, padding=1, bias=False)
    offset = torch.zeros(1, 18, 5, 7)
    assert cost(conv, torch.zeros(1, 4, 9, 13), offset) == (4 * 6 * 9, 4 * 6 * 9 * 5 * 7)


def test_other_operations_do_not_count():
    class Others(nn.Sequential):
        def forward(self, x):
            x = F.interpolate(super().forward(x), scale_factor=2)
            return roi_align(x, torch.tensor([[0.0, 0, 0, 4, 4]]), 7)

    others = Others(nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(3), nn.MaxPool2d(3)).eval()
    assert cost(others, torch.empty(1, 4, 36, 36)) == (8, 0)


class Tangle(nn.Module):
    """Children that share a weight or are called by a method, and products outside children."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.caller = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Identity())
        self.methods = nn.ModuleDict({"tower": nn.Linear(2, 3, bias=False)})
        self.shared = nn.Linear(2, 2, bias=False)
        self.shared.weight = self.caller[0].weight
        self.empty = nn.Identity()

    def forward(self, x):
        x = x @ torch.empty(5, 2)
        x = self.shared(self.caller(x))
        return self.methods["tower"](x) @ torch.empty(3, 4)


def test_operations_count_for_the_child_that_runs_them():
    assert count(Tangle(), torch.empty(1, 5)) == [
        Part("caller", 4, 4),
        Part("methods", 6, 6),
        Part("shared", 0, 4),
        Part("other", 2, 10 + 12),
        Part("total", 12, 36),
    ]


def test_counting_does_not_change_a_network():
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    first = count(network, torch.empty(1, 2))
    with pytest.raises(RuntimeError):
        count(network, torch.empty(1, 5))
    for module in network.modules():
        assert not module._forward_pre_hooks and not module._forward_hooks
    assert count(network, torch.empty(1, 2)) == first


@pytest.mark.parametrize(
    ("factor", "name"),
    [
        (0.5, "shufflenet_v2_x0_5"),
        (1.0, "shufflenet_v2_x1_0"),
        (1.5, "shufflenet_v2_x1_5"),
        (2.0, "shufflenet_v2_x2_0"),
    ],
)
def test_v2_has_the_counts_of_torchvision(factor, name):
    published = get_model_weights(name).DEFAULT.meta
    with torch.device("meta"):
        parameters, multiply_adds = cost(get_model(name).eval(), torch.empty(1, 3, 224, 224))
    *_, ours = backbone_complexity("ShuffleNetV2", {"widen_factor": factor}, classes=1000)
    assert ours.multiply_adds == multiply_adds
    assert round(multiply_adds / 1e9, 3) == published["_ops"]
    # torchvision's classifier has a bias
    assert ours.parameters + 1000 == parameters == published["num_params"]


@pytest.mark.parametrize(
    ("backbone", "options", "name"),
    [
        ("ResNet", {"depth": 50}, "resnet50"),
        ("MobileNetV2", {"out_indices": (7,)}, "mobilenet_v2"),
    ],
)
def test_mmdets_backbones_have_the_counts_of_torchvision(backbone, options, name):
    published = get_model_weights(name).IMAGENET1K_V1.meta
    *_, counted = backbone_complexity(backbone, options, classes=1000)
    assert round(counted.multiply_adds / 1e9, 3) == published["_ops"]
    assert counted.parameters + 1000 == published["num_params"]


def test_a_detector_has_the_counts_of_torchvision():
    name = "ssdlite320_mobilenet_v3_large"
    published = get_model_weights(name).DEFAULT.meta
    detector = getattr(detection, name)(weights=None, weights_backbone=None).eval()
    parameters, multiply_adds = cost(detector, [torch.zeros(3, 320, 320)])
    assert round(multiply_adds / 1e9, 3) == published["_ops"]
    assert parameters == published["num_params"]


def test_a_config_of_mmdet_has_its_published_counts():
    model = Config.fromfile(MMDETS / "rtmdet/rtmdet_tiny_8xb32-300e_coco.py").model
    *_, counted = detector_complexity(model, (640, 640))
    # mmdet's README: 4.8 M parameters and 8.1 G, which includes normalisation.
    assert counted.parameters / 1e6 == pytest.approx(4.8, rel=0.025)
    assert counted.multiply_adds / 1e9 == pytest.approx(8.1, rel=0.01)


@pytest.mark.parametrize("shape", [(224, 224), (1, 1), (97, 131), (800, 1333)])
@pytest.mark.parametrize("name", ["ShuffleNetV1", "ShuffleNetV2"])
def test_the_stem_has_its_closed_form_at_any_size(name, shape):
    counted = backbone_complexity(name, {"out_indices": (0,)}, shape)
    outputs = ((shape[0] + 1) // 2) * ((shape[1] + 1) // 2)
    costs = 27 * 24 + 2 * 24, 27 * 24 * outputs
    assert counted == [Part("conv1", *costs), Part("total", *costs)]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ShuffleNetV1", {"groups": 8, "widen_factor": 0.25}),
        ("ShuffleNetV1", {"depth": 50}),
        ("ShuffleNetV2", {"layout": "paper", "extra_depthwise": True, "se_reduction": 4}),
        ("ShuffleNetV2", {"layout": "pytorchcv", "out_indices": (1, 4)}),
        ("MobileNetV1", {}),
        ("Xception", {}),
    ],
)
def test_stages_add_up_to_the_backbone(name, options, multiply_adds):
    *parts, total = backbone_complexity(name, options, (65, 97))
    with torch.device("meta"):
        network = MODELS.get(name)(**options).eval()
        counted = multiply_adds(network, torch.empty(1, 3, 65, 97))
    assert total.multiply_adds == counted
    assert total.parameters == sum(p.numel() for p in network.parameters())
    stages = [n for n, child in network.named_children() if list(child.parameters())]
    assert [part.name for part in parts] == stages
    assert total.multiply_adds == sum(part.multiply_adds for part in parts)
    assert total.parameters == sum(part.parameters for part in parts)


@pytest.mark.parametrize("name", ["ShuffleNetV1", "ShuffleNetV2", "MobileNetV1", "Xception"])
def test_a_classifier_counts_after_the_last_level(name):
    *stages, classifier, total = backbone_complexity(name, {}, (64, 64), classes=7)
    last = {"ShuffleNetV1": (3, 960), "ShuffleNetV2": (4, 1024), "MobileNetV1": (3, 1024)}
    level, channels = last.get(name, (3, 512))
    assert classifier == Part("classifier", 7 * channels, 7 * channels)
    *alone, backbone = backbone_complexity(name, {"out_indices": (level,)}, (64, 64))
    assert alone == stages
    assert total.parameters == backbone.parameters + classifier.parameters
    assert total.multiply_adds == backbone.multiply_adds + classifier.multiply_adds


def with_few_proposals(model, number=3):
    """The model with few RoIs, which is faster, and a copy of it."""
    if model.get("test_cfg") and "rpn" in model.test_cfg:
        model.test_cfg.rpn.max_per_img = number
    return model, deepcopy(model)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_is_counted_part_by_part(name, monkeypatch, multiply_adds):
    monkeypatch.setattr(socket, "socket", None)  # nothing is downloaded
    model, before = with_few_proposals(Config.fromfile(ROOT / "configs" / name).model)
    shape = (300, 300) if "ssd300" in name else (64, 96)
    *parts, total = detector_complexity(model, shape)
    assert model == before
    detector = MODELS.build(model).eval()
    assert total.parameters == sum(p.numel() for p in detector.parameters())
    assert total.parameters == sum(part.parameters for part in parts)
    assert total.multiply_adds == sum(part.multiply_adds for part in parts)
    for part in parts:
        child = getattr(detector, part.name)
        assert part.parameters == sum(p.numel() for p in child.parameters()) > 0
        assert part.multiply_adds > 0
    if "RCNN" not in before.type:
        images = torch.zeros(1, 3, *shape)
        assert total.multiply_adds == multiply_adds(detector, images, mode="tensor")
    options = {k: v for k, v in before.backbone.items() if k not in ("type", "init_cfg")}
    *_, backbone = backbone_complexity(before.backbone.type, options, shape)
    assert parts[0] == Part("backbone", backbone.parameters, backbone.multiply_adds)


@pytest.mark.parametrize("shape", [(96, 128), (800, 64)])
def test_the_roi_head_gets_the_maximum_number_of_proposals(shape):
    model = Config.fromfile(ROOT / "configs/faster_rcnn_shufflenet_coco.py").model
    assert proposals_of(model) == 1000
    roi_head = by_name(detector_complexity(model, shape))["roi_head"]
    assert roi_head.multiply_adds == 1000 * ROI_HEAD


def test_a_mask_head_gets_a_hundred_rois():
    model = Config.fromfile(MMDETS / "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py").model
    model.test_cfg.rpn.max_per_img = 110
    mask_head = (4 * 9 * 256 * 256 + 4 * 256 * 256) * 14**2 + 256 * 80 * 28**2
    roi_head = by_name(detector_complexity(model, (64, 64)))["roi_head"]
    assert roi_head.multiply_adds == 110 * ROI_HEAD + 100 * mask_head


def test_the_heads_of_retinanet_have_their_closed_form():
    model = Config.fromfile(ROOT / "configs/retinanet_shufflenet_coco.py").model
    bbox_head = by_name(detector_complexity(model, (256, 128)))["bbox_head"]
    cells = sum(256 // stride * (128 // stride) for stride in (8, 16, 32, 64, 128))
    towers = 2 * 4 * 9 * 256 * 256
    assert bbox_head.multiply_adds == cells * (towers + 9 * 256 * 9 * (80 + 4))


MISTAKES = {
    "classes": (lambda: backbone_complexity("ShuffleNetV2", classes=0), "classes=0"),
    "one side": (lambda: backbone_complexity("ShuffleNetV2", shape=(224,)), r"\(224,\)"),
    "a type in a config": (lambda: detector_complexity({"type": "NoNet"}, (9, 9)), "NoNet"),
    "an argument in a config": (
        lambda: detector_complexity({"type": "RetinaNet", "spine": 1}, (9, 9)),
        "spine",
    ),
    "proposals from a file": (
        lambda: detector_complexity(
            Config.fromfile(MMDETS / "fast_rcnn/fast-rcnn_r50_fpn_1x_coco.py").model, (64, 64)
        ),
        "FastRCNN has a RoI head and no RPN",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named(case):
    mistake, words = MISTAKES[case]
    with pytest.raises(ValueError, match=words) as raised:
        mistake()
    assert "\n" not in str(raised.value)
