"""Every variant of the networks, and functions for the tests of this folder."""

from itertools import combinations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from shufflenet_det import backbones
from shufflenet_det.backbones import MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception

V1_GROUPS = (1, 2, 3, 4, 8)
V1_FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
V2_FACTORS = (0.5, 1.0, 1.5, 2.0)
LAYOUTS = ("torchvision", "paper", "pytorchcv", "pytorchcv_b")
MOBILENET_FACTORS = (0.25, 0.5, 0.75, 1.0)
XCEPTION_FACTORS = (0.5, 1.0, 1.5, 2.0)

V1 = [
    pytest.param(
        ShuffleNetV1,
        {"groups": groups, "widen_factor": factor, "shuffle": shuffle},
        id=f"v1-g{groups}-{factor}x-{shuffle}",
    )
    for groups in V1_GROUPS
    for factor in V1_FACTORS
    for shuffle in ("paper", "inverse")
]
V2 = [
    pytest.param(
        ShuffleNetV2, {"widen_factor": factor, "layout": layout}, id=f"v2-{factor}x-{layout}"
    )
    for factor in V2_FACTORS
    for layout in LAYOUTS
]
# Other variants: V1's ablation, shallow and large networks, V2*, squeeze-and-excitation.
RELATIVES = [
    pytest.param(ShuffleNetV1, {"shuffle": "none"}, id="v1-no-shuffle"),
    pytest.param(ShuffleNetV1, {"bottleneck_ratio": 2}, id="v1-bottleneck-2"),
    pytest.param(ShuffleNetV1, {"stage_repeats": (2, 4, 2)}, id="v1-shallow"),
    pytest.param(ShuffleNetV1, {"stem_channels": 36, "widen_factor": 1.5}, id="v1-stem-36"),
    pytest.param(ShuffleNetV1, {"stem_act": False}, id="v1-bare-stem"),
    pytest.param(ShuffleNetV1, {"se_reduction": 16}, id="v1-se"),
    pytest.param(ShuffleNetV1, {"depth": 50}, id="v1-50"),
    *(
        pytest.param(
            ShuffleNetV2,
            {"widen_factor": factor, "layout": layout, "extra_depthwise": True},
            id=f"v2star-{factor}x-{layout}",
        )
        for factor in V2_FACTORS
        for layout in ("torchvision", "paper")
    ),
    pytest.param(ShuffleNetV2, {"se_reduction": 1}, id="v2-se"),
    pytest.param(ShuffleNetV2, {"residual": True}, id="v2-residual"),
    pytest.param(ShuffleNetV2, {"stage_repeats": (2, 4, 2)}, id="v2-shallow"),
    pytest.param(ShuffleNetV2, {"conv5_channels": 1280}, id="v2-conv5-1280"),
    *(
        pytest.param(ShuffleNetV2, {"depth": 50, "layout": layout}, id=f"v2-50-{layout}")
        for layout in ("torchvision", "paper")
    ),
    pytest.param(
        ShuffleNetV2,
        {"depth": 164, "residual": True, "se_reduction": 4, "layout": "paper"},
        id="v2-164",
    ),
]
# The networks of the papers' comparisons.
OTHERS = [
    *(
        pytest.param(MobileNetV1, {"widen_factor": factor}, id=f"mobilenet-{factor}x")
        for factor in MOBILENET_FACTORS
    ),
    *(
        pytest.param(Xception, {"widen_factor": factor}, id=f"xception-{factor}x")
        for factor in XCEPTION_FACTORS
    ),
    pytest.param(Xception, {"stage_channels": (144, 288, 576)}, id="xception-light-head"),
]
FAMILIES = (ShuffleNetV1, ShuffleNetV2, MobileNetV1, Xception)
# A new network is tested without a line here.
NEW = [
    pytest.param(network, {}, id=network.__name__)
    for network in (getattr(backbones, name) for name in backbones.__all__)
    if network not in FAMILIES
]
EVERY = V1 + V2 + RELATIVES + OTHERS + NEW
# The cheapest of each family, for tests that do not depend on the width.
SMALL = [
    pytest.param(ShuffleNetV1, {"groups": 3, "widen_factor": 0.25}, id="v1"),
    pytest.param(ShuffleNetV2, {"widen_factor": 0.5}, id="v2"),
    pytest.param(ShuffleNetV2, {"widen_factor": 0.5, "layout": "paper"}, id="v2-paper"),
    pytest.param(MobileNetV1, {"widen_factor": 0.25}, id="mobilenet"),
    pytest.param(Xception, {"widen_factor": 0.5}, id="xception"),
]
LEVELS = {network: network.LAST_LEVEL + 1 for network in (*FAMILIES, *(p.values[0] for p in NEW))}
LEVEL_NAMES = ("conv1", "stage2", "stage3", "stage4", "conv5")
# The design's: stem after max-pooling, stages 2, 3, 4, and V2's conv5.
STRIDES = (4, 8, 16, 32, 32)


def subsets(levels):
    """All choices of ``out_indices`` out of so many levels."""
    return [c for n in range(1, levels + 1) for c in combinations(range(levels), n)]


def all_levels(network, variant, **kwargs):
    return network(**variant, out_indices=tuple(range(LEVELS[network])), **kwargs)


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loss(maps):
    """A loss to which every value of every map contributes with another weight."""
    return sum((m * images(*m.shape, seed=i)).sum() for i, m in enumerate(maps))


def norms(module):
    return [m for m in module.modules() if isinstance(m, _BatchNorm | nn.GroupNorm)]


def randomise(module, seed=0):
    """Random weights that keep activations in range, and random normalisation statistics."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
        elif isinstance(layer, _BatchNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(layer.bias, generator=generator)
            if layer.track_running_stats:
                nn.init.normal_(layer.running_mean, generator=generator)
                nn.init.uniform_(layer.running_var, 0.5, 1.5, generator=generator)
    return module


def conv_bn(x, conv, norm, stride=1, groups=1):
    """Convolution and BatchNorm on the tensors of two layers, without their settings."""
    weight = conv.weight
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2, groups=groups)
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def squeezed(x, layer):
    """Squeeze-and-excitation (Hu et al., CVPR 2018): pool, reduce, ReLU, expand, sigmoid, scale."""
    scale = x.mean((2, 3), keepdim=True)
    scale = F.conv2d(scale, layer.fc1.weight, layer.fc1.bias).relu()
    return x * F.conv2d(scale, layer.fc2.weight, layer.fc2.bias).sigmoid()


def copied(state):
    return {k: v.clone() for k, v in state.items()}


def same(a, b):
    """Whether two state dicts are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
