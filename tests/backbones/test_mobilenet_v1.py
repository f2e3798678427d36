"""MobileNetV1 against the paper's tables, and against a second implementation."""

import networks
import pytest
import torch
from networks import MOBILENET_FACTORS
from torch import nn

from shufflenet_det.backbones import MobileNetV1

# Table 1 from the top to the pooling: stride, channels in and out (0: depthwise), side of the input
# map at 224x224. The last depthwise layer is printed with stride 2, but its output has 7x7 too.
TABLE_1 = [
    (2, 3, 32, 224),
    *((1, 32, 0, 112), (1, 32, 64, 112)),
    *((2, 64, 0, 112), (1, 64, 128, 56)),
    *((1, 128, 0, 56), (1, 128, 128, 56)),
    *((2, 128, 0, 56), (1, 128, 256, 28)),
    *((1, 256, 0, 28), (1, 256, 256, 28)),
    *((2, 256, 0, 28), (1, 256, 512, 14)),
    *((1, 512, 0, 14), (1, 512, 512, 14)) * 5,
    *((2, 512, 0, 14), (1, 512, 1024, 7)),
    *((1, 1024, 0, 7), (1, 1024, 1024, 7)),
]
# The last rows of strides 4, 8, 16 and 32.
LAST_ROWS = (6, 10, 22, 26)
# Table 6: width multiplier, millions of multiply-adds and of parameters.
TABLE_6 = {1.0: (569, 4.2), 0.75: (325, 2.6), 0.5: (149, 1.3), 0.25: (41, 0.5)}
IMAGE = torch.empty(1, 3, 224, 224, device="meta")


def on_meta(factor):
    with torch.device("meta"):
        return MobileNetV1(factor, out_indices=(0, 1, 2, 3)).eval()


def scaled(factor):
    """Table 1 with the filters of every layer multiplied."""
    for stride, channels, out, side in TABLE_1:
        yield stride, channels if channels == 3 else int(channels * factor), int(out * factor), side


@pytest.mark.parametrize("size", [(64, 64), (97, 131)])
@pytest.mark.parametrize("factor", MOBILENET_FACTORS)
def test_maps_are_those_of_table_1(factor, size):
    net = MobileNetV1(factor, out_indices=(0, 1, 2, 3)).eval().double()
    layers = list(networks.randomise(net).modules())
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm2d)]
    x = networks.images(2, 3, *size).double()
    maps, expected = net(x), []
    for row, ((stride, channels, out, _), conv, norm) in enumerate(
        zip(scaled(factor), convs, norms, strict=True)
    ):
        kernel = conv.weight.shape[-1]
        assert kernel == (1 if out and row else 3)
        x = networks.conv_bn(x, conv, norm, stride, 1 if out else channels).relu()
        if row in LAST_ROWS:
            expected.append(x)
    for ours, theirs in zip(maps, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("factor", MOBILENET_FACTORS)
def test_widths_are_table_1s(factor):
    assert on_meta(factor).out_channels == tuple(
        int(width * factor) for width in (128, 256, 512, 1024)
    )


@pytest.mark.parametrize("factor", MOBILENET_FACTORS)
def test_complexity_is_table_6(factor, multiply_adds):
    million_multiply_adds, million_parameters = TABLE_6[factor]
    net = on_meta(factor)
    classifier = net.out_channels[-1] * 1000
    parameters = sum(p.numel() for p in net.parameters())
    assert round((multiply_adds(net, IMAGE) + classifier) / 1e6) == million_multiply_adds
    assert round((parameters + classifier + 1000) / 1e6, 1) == million_parameters
