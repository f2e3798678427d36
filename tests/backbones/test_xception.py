"""The small Xception against the papers' complexities, and against a second implementation."""

import networks
import pytest
import torch
from networks import XCEPTION_FACTORS
from torch import nn
from torch.nn import functional as F

from shufflenet_det.backbones import Xception
from shufflenet_det.backbones.xception import XceptionUnit

# ShuffleNet V2, Table 8: millions of multiply-adds at 224x224. Stem and stages of Xception39
# (yu-changqian/TorchSeg furnace/base_model/xception.py) are those of 0.5x.
TABLE_8 = {0.5: 40, 1.0: 145, 1.5: 305, 2.0: 525}
XCEPTION_39 = (8, 64, 128, 256)
# Light-Head R-CNN, Table 7.
UNITS = (4, 8, 4)
LIGHT_HEAD_STEM, LIGHT_HEAD_STAGES = 24, (144, 288, 576)
IMAGE = torch.empty(1, 3, 224, 224, device="meta")


def on_meta(*arguments, **kwargs):
    with torch.device("meta"):
        return Xception(*arguments, out_indices=(0, 1, 2, 3), **kwargs).eval()


def classifier(net):
    """Multiply-adds of 1000 classes."""
    return net.out_channels[-1] * 1000


@pytest.mark.parametrize("factor", XCEPTION_FACTORS)
def test_complexity_is_table_8(factor, multiply_adds):
    net = on_meta(factor)
    assert round((multiply_adds(net, IMAGE) + classifier(net)) / 1e6) == TABLE_8[factor]


def test_widths_are_multiples_of_xception39():
    assert on_meta(0.5).out_channels == XCEPTION_39
    for factor in (1.0, 1.5, 2.0):
        stages = tuple(int(2 * factor * width) for width in XCEPTION_39[1:])
        assert on_meta(factor).out_channels == (LIGHT_HEAD_STEM, *stages)


def test_light_heads_widths_need_more_than_its_145_million(multiply_adds):
    net = on_meta(stage_channels=LIGHT_HEAD_STAGES)
    assert net.out_channels == (LIGHT_HEAD_STEM, *LIGHT_HEAD_STAGES)
    assert round((multiply_adds(net, IMAGE) + classifier(net)) / 1e6, 1) == 179.0


class Restated:
    """The network in a few lines, on the layers in the order of their definition."""

    def __init__(self, net):
        self.convs = (m for m in net.modules() if isinstance(m, nn.Conv2d))
        self.norms = (m for m in net.modules() if isinstance(m, nn.BatchNorm2d))

    def conv(self, x, kernel, stride=1, depthwise=False):
        weight = next(self.convs).weight
        assert weight.shape[-1] == kernel
        groups = x.shape[1] if depthwise else 1
        return F.conv2d(x, weight, stride=stride, padding=kernel // 2, groups=groups)

    def norm(self, x):
        norm = next(self.norms)
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    def separable(self, x, stride=1):
        return self.norm(self.conv(self.conv(x, 3, stride, depthwise=True), 1))

    def unit(self, x, stride):
        shortcut = self.norm(self.conv(x, 1, stride)) if stride == 2 else x
        x = self.separable(x, stride).relu()
        return (shortcut + self.separable(self.separable(x).relu())).relu()

    def maps(self, x):
        x = self.norm(self.conv(x, 3, 2)).relu()
        maps = [F.max_pool2d(x, 3, 2, 1)]
        for units in UNITS:
            x = maps[-1]
            for unit in range(units):
                x = self.unit(x, 1 if unit else 2)
            maps.append(x)
        return maps


@pytest.mark.parametrize("size", [(64, 64), (97, 131)])
@pytest.mark.parametrize("factor", XCEPTION_FACTORS)
def test_maps_are_those_of_the_network_restated(factor, size):
    net = networks.randomise(Xception(factor, out_indices=(0, 1, 2, 3)).eval().double())
    x = networks.images(2, 3, *size).double()
    restated = Restated(net)
    for ours, theirs in zip(net(x), restated.maps(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert next(restated.convs, None) is next(restated.norms, None) is None


def test_a_unit_sees_seven_pixels():
    """ShuffleNet V2, Sec. 4: 7 for Xception's building block, against the others' 3."""
    unit = XceptionUnit(
        8,
        8,
        1,
        conv_norm_cfg={"conv_cfg": None, "norm_cfg": {"type": "BN"}},
        act_cfg={"type": "ReLU"},
    ).eval()
    for layer in unit.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    x = torch.ones(1, 8, 15, 15, requires_grad=True)
    unit(x)[..., 7, 7].sum().backward()
    seen = torch.zeros(15, 15, dtype=torch.bool)
    seen[4:11, 4:11] = True
    assert torch.equal(x.grad[0].abs().sum(0) > 0, seen)
