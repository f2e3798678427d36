"""ShuffleNet V1 against its paper's tables, the authors' code, and a second implementation."""

from math import ceil

import networks
import pytest
import torch
from networks import V1_FACTORS, V1_GROUPS, conv_bn, squeezed
from torch.nn import functional as F

from shufflenet_det.backbones import ShuffleNetV1
from shufflenet_det.papers.complexity import count

# Table 1, 1x: output channels of stages 2, 3, 4 by groups.
TABLE_1 = {
    1: (144, 288, 576),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}
# Table 1, last row: millions of multiply-adds at 224x224, and the same of the convolutions alone,
# worked out by hand to the digits that follow.
COMPLEXITY = {
    1: (143, 142.503),
    2: (140, 140.037),
    3: (137, 136.501),
    4: (133, 133.252),
    8: (137, 136.830),
}
# Complexities with the classifier: Tables 2 and 5, and the table of the authors' released networks.
WITH_CLASSIFIER = {
    (3, 2.0): 524,
    (3, 1.5): 292,
    (3, 0.5): 38,
    (4, 0.5): 38,
    (8, 2.0): 522,
    (8, 1.5): 290,
    (8, 0.5): 40,
    (8, 0.25): 12,
}
# Millions of parameters with the classifier, of the authors' released networks.
PARAMETERS = {
    (3, 2.0): 5.4,
    (3, 1.5): 3.4,
    (3, 1.0): 1.9,
    (3, 0.5): 0.7,
    (8, 2.0): 6.5,
    (8, 1.5): 4.3,
    (8, 1.0): 2.4,
    (8, 0.5): 1.0,
}


def multiply_adds(net):
    return count(net, torch.empty(1, 3, 224, 224, device="meta"))[-1].multiply_adds


def on_meta(groups, factor):
    with torch.device("meta"):
        return ShuffleNetV1(groups, factor, out_indices=(0, 1, 2, 3)).eval()


@pytest.mark.parametrize("groups", V1_GROUPS)
def test_widths_at_1x_are_table_1(groups):
    assert on_meta(groups, 1.0).out_channels == (24, *TABLE_1[groups])


@pytest.mark.parametrize("groups", V1_GROUPS)
@pytest.mark.parametrize("factor", V1_FACTORS)
def test_other_widths_are_scaled_and_rounded_up_to_what_divides(groups, factor):
    # A quarter of the channels goes through grouped convolutions.
    unit = 4 * groups
    stages = tuple(ceil(c * factor / unit) * unit for c in TABLE_1[groups])
    # The stem is concatenated, so the rest must divide; at 1.5x the authors keep 24.
    stem = 24 if factor == 1.5 else ceil(24 * factor / groups) * groups
    assert on_meta(groups, factor).out_channels == (stem, *stages)


@pytest.mark.parametrize("groups", V1_GROUPS)
def test_multiply_adds_are_table_1(groups):
    in_table, exact = COMPLEXITY[groups]
    million = multiply_adds(on_meta(groups, 1.0)) / 1e6
    assert million == pytest.approx(exact, abs=5e-4)
    assert abs(million - in_table) <= 0.51


@pytest.mark.parametrize(("groups", "factor"), WITH_CLASSIFIER)
def test_multiply_adds_of_other_widths(groups, factor):
    net = on_meta(groups, factor)
    million = (multiply_adds(net) + net.out_channels[-1] * 1000) / 1e6
    assert abs(million - WITH_CLASSIFIER[groups, factor]) <= 0.51


@pytest.mark.parametrize(("groups", "factor"), PARAMETERS)
def test_parameters(groups, factor):
    net = on_meta(groups, factor)
    count = sum(p.numel() for p in net.parameters()) + net.out_channels[-1] * 1000
    assert abs(count / 1e6 - PARAMETERS[groups, factor]) <= 0.051


@pytest.mark.parametrize("groups", V1_GROUPS)
def test_one_pointwise_convolution_is_dense_and_the_rest_are_grouped(groups):
    net = on_meta(groups, 1.0)
    pointwise = {
        n: m.groups for n, m in net.named_modules() if getattr(m, "kernel_size", 0) == (1, 1)
    }
    assert len(pointwise) == 2 * (4 + 8 + 4)
    assert pointwise.pop(next(n for n in pointwise if n.startswith("stage2.0"))) == 1
    assert set(pointwise.values()) == {groups}


def shuffled(x, groups, direction):
    """Sec. 3.1: channels as (g, n), transposed, flattened; the authors' release has (n, g)."""
    n, c, h, w = x.shape
    rows = groups if direction == "paper" else c // groups
    return x.reshape(n, rows, c // rows, h, w).transpose(1, 2).reshape(n, c, h, w)


def restated(unit, x, groups, first_groups, stride, direction):
    """Sec. 3.2, Fig. 2b and 2c, on the tensors of a unit."""
    y = conv_bn(x, *unit.compress[:2], groups=first_groups).relu()
    y = shuffled(y, groups, direction)
    y = conv_bn(y, *unit.depthwise, stride, groups=y.shape[1])
    y = conv_bn(y, *unit.expand, groups=groups)
    if stride == 2:
        return torch.cat([F.avg_pool2d(x, 3, 2, 1), y], 1).relu()
    return (x + y).relu()


@pytest.mark.parametrize("direction", ["paper", "inverse"])
@pytest.mark.parametrize("groups", V1_GROUPS)
def test_units_are_those_of_the_paper(groups, direction):
    net = networks.randomise(
        ShuffleNetV1(groups, 0.5, shuffle=direction, out_indices=(2,)).eval().double()
    )
    for stage, index in (("stage2", 0), ("stage2", 1), ("stage3", 0), ("stage3", 7)):
        unit = getattr(net, stage)[index]
        channels = net.conv1[0].out_channels if (stage, index) == ("stage2", 0) else None
        channels = channels or (unit if index else net.stage2[-1]).expand[0].out_channels
        x = networks.images(2, channels, 9, 13).double().relu()
        first_groups = 1 if (stage, index) == ("stage2", 0) else groups
        stride = 1 if index else 2
        expected = restated(unit, x, groups, first_groups, stride, direction)
        torch.testing.assert_close(unit(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shuffle", ["none", "paper", "inverse"])
def test_without_shuffle_channels_stay_in_their_groups(shuffle):
    """Table 3's ablation: within a stage, a group reads only its own channels."""
    net = networks.randomise(ShuffleNetV1(3, 0.5, shuffle, out_indices=(1,)).eval())
    x = networks.images(1, 120, 8, 8).relu()
    changed = x.clone()
    changed[:, :40] += 1
    with torch.no_grad():
        before, after = (net.stage2[1:](images) for images in (x, changed))
    moved = (before != after).flatten(2).any(2)[0]
    assert moved[:40].any()
    assert moved[40:].any() == (shuffle != "none")


def test_squeeze_and_excitation_costs_what_table_5_says():
    with torch.device("meta"):
        net = ShuffleNetV1(3, 2.0, se_reduction=16).eval()
    million = (multiply_adds(net) + net.out_channels[-1] * 1000) / 1e6
    assert round(million) == 527


@pytest.mark.parametrize("index", [0, 1])
def test_squeeze_and_excitation_is_behind_the_last_convolution(index):
    plain, net = (
        networks.randomise(ShuffleNetV1(3, 0.5, se_reduction=r, out_indices=(1,)).eval().double())
        for r in (None, 4)
    )
    x = networks.images(2, 120 if index else 12, 9, 13).double().relu()
    unit, layer = net.stage2[index], net.stage2[index].expand[2]
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if ".fc" not in k})
    y = {}
    plain.stage2[index].expand.register_forward_hook(lambda module, x, out: y.update(out=out))
    plain.stage2[index](x)
    assert layer.fc1.out_channels == 120 // 4
    y = squeezed(y["out"], layer)
    expected = x + y if index else torch.cat([F.avg_pool2d(x, 3, 2, 1), y], 1)
    torch.testing.assert_close(unit(x), expected.relu(), rtol=1e-12, atol=1e-12)


def test_v1_50_is_of_v2s_table_6():
    with torch.device("meta"):
        net = ShuffleNetV1(depth=50, out_indices=(0, 1, 2, 3)).eval()
    assert net.out_channels == (360, 720, 1440, 2880)
    assert [len(getattr(net, f"stage{s}")) for s in (1, 2, 3, 4)] == [3, 4, 6, 3]
    assert abs((multiply_adds(net) + 2880 * 1000) / 1e9 - 2.3) <= 0.05
    pointwise = [m for m in net.modules() if getattr(m, "kernel_size", 0) == (1, 1)]
    assert [m.groups for m in pointwise] == [1] + [3] * 31


def test_the_first_unit_of_v1_50_keeps_its_input():
    net = networks.randomise(ShuffleNetV1(depth=50, out_indices=(0,)).eval())
    x = networks.images(1, 66, 6, 8).relu()
    assert torch.equal(net.stage1[0](x)[:, :66], x)


@pytest.mark.parametrize("ratio", [1, 2, 8])
def test_the_bottleneck_ratio_is_output_over_depthwise_channels(ratio):
    with torch.device("meta"):
        net = ShuffleNetV1(3, 1.0, bottleneck_ratio=ratio)
    for stage, width in zip((net.stage2, net.stage3, net.stage4), TABLE_1[3], strict=True):
        assert {unit.depthwise[0].out_channels for unit in stage} == {width // ratio}
