"""The faster copy of a network computes what the network does, on photographs."""

import copy

import numpy as np
import pytest
import supervision as sv
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

from shufflenet_det.backbones import ShuffleNetV1, ShuffleNetV2
from shufflenet_det.deploy import optimize
from shufflenet_det.deploy.verification import photographs

LEAKY = {"type": "LeakyReLU", "negative_slope": 0.1}


@pytest.fixture(scope="module")
def images():
    """Two views of a photograph, (2, 3, 150, 192), normalised; also odd sides."""
    views = [photographs()[0][y : y + 150, 100:292, ::-1] for y in (100, 160)]
    return (torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() - 116) / 58


def trained(network):
    """Statistics and scales of normalisations as unlike as a training leaves them."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (ShuffleNetV2, {"out_indices": (0, 1, 2, 3, 4)}),
        (ShuffleNetV2, {"act_cfg": LEAKY, "extra_depthwise": True}),
        (ShuffleNetV2, {"layout": "pytorchcv_b", "act_cfg": {"type": "ReLU6"}}),
        (ShuffleNetV2, {"layout": "paper"}),
        (ShuffleNetV2, {"se_reduction": 4, "residual": True}),
        (ShuffleNetV1, {}),
        (ShuffleNetV1, {"shuffle": "inverse", "act_cfg": {"type": "SiLU"}}),
        (ShuffleNetV1, {"groups": 8, "norm_cfg": {"type": "GN", "num_groups": 2}}),
    ],
    ids=str,
)
def test_features_are_the_same(network, arguments, images):
    network = trained(network(**arguments))
    before = copy.deepcopy(network.state_dict())
    optimized = optimize(network)
    for size in ((150, 192), (149, 177)):  # even sides and odd ones, in turn
        expected = network(images[..., : size[0], : size[1]])
        for found in (optimized, copy.deepcopy(optimized)):
            maps = found(images[..., : size[0], : size[1]])
            for want, got in zip(expected, maps, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * want.abs().max())
    after = network.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())


def test_a_layer_in_double_precision_is_left_to_torch(images):
    network = trained(ShuffleNetV2()).double()
    with torch.no_grad():
        for want, got in zip(
            network(images.double()), optimize(network)(images.double()), strict=True
        ):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "compiled"),
    [(None, ["ShuffleNetV2"]), ("ssdlite320_shufflenet_coco.py", ["ShuffleNetV2", "SSDNeck"])],
)
def test_compiled_parts_compute_the_same(root, monkeypatch, images, name, compiled):
    """Dynamo captures each part in one graph; its eager backend takes seconds, not minutes."""
    found, torch_compile = [], torch.compile

    def quick(call, options):
        found.append(type(call.__self__).__name__)
        return torch_compile(call, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", quick)
    network = trained(ShuffleNetV2() if name is None else detector(root / "configs" / name))
    optimized = optimize(network, compile=True)
    assert found == compiled
    with torch.no_grad():
        for want, got in zip(*(flat(parts(m, images)) for m in (network, optimized)), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))


@pytest.mark.parametrize(
    "name",
    [
        "bccd/rtmdet_shufflenet_bccd.py",
        "faster_rcnn_shufflenet_coco.py",
        "nanodet/nanodet_m_320.py",
        "nanodet/nanodet_plus_m_320.py",
        "paper_v2/shufflenetv2_1x.py",
        "retinanet_shufflenet_coco.py",
        "ssd300_shufflenet_coco.py",
        "ssdlite320_shufflenet_coco.py",
    ],
)
def test_raw_outputs_of_detectors_are_the_same(root, name, images):
    model = trained(detector(root / "configs" / name))
    size = 300 if "ssd300" in name else 128
    inputs = nn.functional.interpolate(images[:1], (size, size))
    with torch.no_grad():
        want, got = (flat(parts(m, inputs)) for m in (model, optimize(model)))
    assert len(want) == len(got) > 1
    for a, b in zip(want, got, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4 * float(a.abs().max()))


def detector(config):
    cfg = Config.fromfile(config)
    cfg.model.backbone.init_cfg = None
    cfg.model.train_cfg = None
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def parts(model, inputs):
    """Maps of a backbone; of a detector the neck's, and the raw outputs of the first head."""
    if isinstance(model, ShuffleNetV2):
        return model(inputs)
    features = model.extract_feat(inputs)
    head = getattr(model, "rpn_head", None) or model.bbox_head
    return [features, head(features)]


def flat(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for part in outputs for tensor in flat(part)]


def test_a_threshold_only_leaves_boxes_out(lively):
    detector, _ = lively("nanodet_plus")
    image = photographs()[0]
    found = detector(image)
    least = float(np.median(found.confidence))
    some = detector(image, least)
    kept = found[found.confidence >= np.float32(least)]
    assert 0 < len(some) == len(kept) < len(found)
    np.testing.assert_allclose(some.xyxy, kept.xyxy, atol=1e-2)
    assert isinstance(some, sv.Detections)
    assert len(detector(image)) == len(found)
