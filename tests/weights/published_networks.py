"""The published ShuffleNets as their sources state them, without any code of this package.

A network is a function that asks a ``Tape`` for its layers by the source's names; the first run
makes random tensors for them, so that the tape's ``state`` is a checkpoint of that source.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

REPEATS = (4, 8, 4)
# {(groups, factor): (stem, stages)}: Table 1, megvii-model/ShuffleNet-Series
# ShuffleNetV1/network.py, osmr/imgclsmob pytorch/pytorchcv/models/shufflenet.py
V1_WIDTHS = {
    (1, 0.25): (6, (36, 72, 144)),
    (1, 0.5): (12, (72, 144, 288)),
    (1, 0.75): (18, (108, 216, 432)),
    (1, 1.0): (24, (144, 288, 576)),
    (2, 1.0): (24, (200, 400, 800)),
    (3, 0.25): (6, (60, 120, 240)),
    (3, 0.5): (12, (120, 240, 480)),
    (3, 0.75): (18, (180, 360, 720)),
    (3, 1.0): (24, (240, 480, 960)),
    (3, 1.5): (24, (360, 720, 1440)),
    (3, 2.0): (48, (480, 960, 1920)),
    (4, 1.0): (24, (272, 544, 1088)),
    (8, 0.5): (16, (192, 384, 768)),
    (8, 1.0): (24, (384, 768, 1536)),
    (8, 1.5): (24, (576, 1152, 2304)),
    (8, 2.0): (48, (768, 1536, 3072)),
}
V2_WIDTHS = {
    0.5: (48, 96, 192),
    1.0: (116, 232, 464),
    1.5: (176, 352, 704),
    2.0: (244, 488, 976),
}


def image(dtype: torch.dtype = torch.float64, side: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, side, side, generator=generator, dtype=dtype)


def assert_close(ours, theirs):
    """Equal feature maps, but for rounding."""
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        tolerance = 1e-10 if b.dtype == torch.float64 else 1e-5
        assert (a - b).abs().max() / b.abs().max() < tolerance


class Tape:
    """Random layers by name; the same name is the same layer."""

    def __init__(self, seed: int = 0, dtype: torch.dtype = torch.float32, norm: str = "torch"):
        self.state: dict[str, Tensor] = {}
        self.random = torch.Generator().manual_seed(seed)
        self.dtype = dtype
        paddle = {"running_mean": "_mean", "running_var": "_variance"}
        self.leaves = paddle if norm == "paddle" else {}

    def _get(self, name: str, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        if name not in self.state:
            made = torch.rand(shape, generator=self.random, dtype=torch.float64)
            self.state[name] = (low + (high - low) * made).to(self.dtype)
        return self.state[name]

    def conv(self, x, name, out, kernel=1, stride=1, groups=1, bias=False):
        fan_in = x.shape[1] // groups * kernel**2
        bound = (6 / fan_in) ** 0.5
        weight = self._get(
            f"{name}.weight", out, x.shape[1] // groups, kernel, kernel, low=-bound, high=bound
        )
        added = self._get(f"{name}.bias", out) if bias else None
        return F.conv2d(x, weight, added, stride, kernel // 2, groups=groups)

    def bn(self, x, name):
        size = x.shape[1]
        mean, var = (self.leaves.get(leaf, leaf) for leaf in ("running_mean", "running_var"))
        out = F.batch_norm(
            x,
            self._get(f"{name}.{mean}", size, low=-0.5, high=0.5),
            self._get(f"{name}.{var}", size, low=0.5, high=1.5),
            self._get(f"{name}.weight", size, low=0.5, high=1.5),
            self._get(f"{name}.bias", size, low=-0.5, high=0.5),
        )
        if not self.leaves:
            self.state[f"{name}.num_batches_tracked"] = torch.tensor(1)
        return out

    def linear(self, x, name, out, bias=True):
        weight = self._get(f"{name}.weight", out, x.shape[1])
        return F.linear(x, weight, self._get(f"{name}.bias", out) if bias else None)


def shuffle(x: Tensor, groups: int) -> Tensor:
    """(g, n) transposed."""
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def inverse_shuffle(x: Tensor, groups: int) -> Tensor:
    """(n, g) transposed."""
    return shuffle(x, x.shape[1] // groups)


def pool_v1(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 2, 1)


def units(widths):
    """(stage from 0, unit from 0, number of all, width) of every unit."""
    number = 0
    for stage, (width, repeats) in enumerate(zip(widths, REPEATS, strict=True)):
        for unit in range(repeats):
            yield stage, unit, number, width
            number += 1


def walk(x, widths, unit_of):
    """Stem's output and each stage's."""
    outs = [x]
    for stage, unit, number, width in units(widths):
        x = unit_of(x, stage, unit, number, width)
        if unit == REPEATS[stage] - 1:
            outs.append(x)
    return outs


def megvii_v1(t, x, groups, stem, widths):
    """megvii-model/ShuffleNet-Series ShuffleNetV1/blocks.py and network.py."""

    def unit_of(x, stage, unit, number, width):
        u, mid, first = f"features.{number}.", width // 4, number == 0
        y = t.conv(x, f"{u}branch_main_1.0", mid, groups=1 if first else groups)
        y = t.bn(y, f"{u}branch_main_1.1").relu()
        y = t.conv(y, f"{u}branch_main_1.3", mid, 3, 1 if unit else 2, mid)
        y = inverse_shuffle(t.bn(y, f"{u}branch_main_1.4"), groups)
        y = t.conv(y, f"{u}branch_main_2.0", width - (0 if unit else x.shape[1]), groups=groups)
        y = t.bn(y, f"{u}branch_main_2.1")
        return (x + y).relu() if unit else torch.cat((pool_v1(x), y.relu()), 1)

    x = t.bn(t.conv(x, "first_conv.0", stem, 3, 2), "first_conv.1").relu()
    return walk(F.max_pool2d(x, 3, 2, 1), widths, unit_of)


def openmmlab_v1(t, x, groups, stem, widths):
    """mmpretrain/models/backbones/shufflenet_v1.py."""

    def unit_of(x, stage, unit, number, width):
        u, mid = f"backbone.layers.{stage}.{unit}.", width // 4
        y = t.conv(x, f"{u}g_conv_1x1_compress.conv", mid, groups=groups if number else 1)
        y = t.bn(y, f"{u}g_conv_1x1_compress.bn").relu()
        y = t.conv(y, f"{u}depthwise_conv3x3_bn.conv", mid, 3, 1 if unit else 2, mid)
        y = shuffle(t.bn(y, f"{u}depthwise_conv3x3_bn.bn"), groups)
        out = width - (0 if unit else x.shape[1])
        y = t.conv(y, f"{u}g_conv_1x1_expand.conv", out, groups=groups)
        y = t.bn(y, f"{u}g_conv_1x1_expand.bn")
        return (x + y).relu() if unit else torch.cat((pool_v1(x), y.relu()), 1)

    x = t.bn(t.conv(x, "backbone.conv1.conv", stem, 3, 2), "backbone.conv1.bn").relu()
    return walk(F.max_pool2d(x, 3, 2, 1), widths, unit_of)


def jaxony_v1(t, x, groups, stem, widths):
    """jaxony/ShuffleNet model.py: biases everywhere, a bare stem, ReLU behind the concatenation."""

    def unit_of(x, stage, unit, number, width):
        u, mid = f"stage{stage + 2}.ShuffleUnit_Stage{stage + 2}_{unit}.", width // 4
        one = groups if number else 1
        y = t.conv(x, f"{u}g_conv_1x1_compress.conv1x1", mid, groups=one, bias=True)
        y = shuffle(t.bn(y, f"{u}g_conv_1x1_compress.batch_norm").relu(), groups)
        y = t.conv(y, f"{u}depthwise_conv3x3", mid, 3, 1 if unit else 2, mid, bias=True)
        y = t.bn(y, f"{u}bn_after_depthwise")
        out = width - (0 if unit else x.shape[1])
        y = t.conv(y, f"{u}g_conv_1x1_expand.conv1x1", out, groups=groups, bias=True)
        y = t.bn(y, f"{u}g_conv_1x1_expand.batch_norm")
        return (x + y if unit else torch.cat((pool_v1(x), y), 1)).relu()

    x = t.conv(x, "conv1", stem, 3, 2, bias=True)
    return walk(F.max_pool2d(x, 3, 2, 1), widths, unit_of)


def pytorchcv_v1(t, x, groups, stem, widths):
    """osmr/imgclsmob pytorch/pytorchcv/models/shufflenet.py: (result, pooled input)."""

    def unit_of(x, stage, unit, number, width):
        u, mid = f"features.stage{stage + 1}.unit{unit + 1}.", width // 4
        y = t.conv(x, f"{u}compress_conv1", mid, groups=groups if number else 1)
        y = shuffle(t.bn(y, f"{u}compress_bn1").relu(), groups)
        y = t.bn(t.conv(y, f"{u}dw_conv2", mid, 3, 1 if unit else 2, mid), f"{u}dw_bn2")
        out = width - (0 if unit else x.shape[1])
        y = t.bn(t.conv(y, f"{u}expand_conv3", out, groups=groups), f"{u}expand_bn3")
        return (x + y if unit else torch.cat((y, pool_v1(x)), 1)).relu()

    stem_name = "features.init_block."
    x = t.bn(t.conv(x, f"{stem_name}conv", stem, 3, 2), f"{stem_name}bn").relu()
    return walk(F.max_pool2d(x, 3, 2, 1), widths, unit_of)


def depthwise_branch(t, x, conv_bn, out):
    """3x3 depthwise, stride 2, and 1x1."""
    (dw, dw_bn), (pw, pw_bn) = conv_bn
    x = t.bn(t.conv(x, dw, x.shape[1], 3, 2, x.shape[1]), dw_bn)
    return t.bn(t.conv(x, pw, out), pw_bn).relu()


def main_branch(t, x, conv_bn, mid, out, stride):
    """1x1, 3x3 depthwise, 1x1."""
    (pw, pw_bn), (dw, dw_bn), (last, last_bn) = conv_bn
    x = t.bn(t.conv(x, pw, mid), pw_bn).relu()
    x = t.bn(t.conv(x, dw, mid, 3, stride, mid), dw_bn)
    return t.bn(t.conv(x, last, out), last_bn).relu()


def halves_v2(t, x, widths, conv5, names, *, split_24=False, pad=1):
    """A V2 that splits in halves and shuffles behind every unit.

    ``names`` gives the stem's pair of names, both branches' pairs of a unit, and conv5's pair.
    """
    stem, branch1, branch2, last = names

    def unit_of(x, stage, unit, number, width):
        half = width // 2
        if unit:
            x1, x2 = x[:, :half], x[:, half:]
            y = main_branch(t, x2, branch2(stage, unit, number), half, half, 1)
        else:
            kept = x.shape[1] if split_24 else half
            x1 = depthwise_branch(t, x, branch1(stage, unit, number), kept)
            y = main_branch(t, x, branch2(stage, unit, number), half, width - kept, 2)
        return shuffle(torch.cat((x1, y), 1), 2)

    x = t.bn(t.conv(x, stem[0], 24, 3, 2), stem[1]).relu()
    x = F.max_pool2d(x, 3, 2, pad, ceil_mode=not pad)
    outs = walk(x, widths, unit_of)
    return [*outs, t.bn(t.conv(outs[-1], last[0], conv5), last[1]).relu()] if conv5 else outs


def pairs(begin, names, *ends):
    return [tuple(f"{begin}{name}{end}" for end in ends) for name in names]


def torchvision_names(prefix="", last="conv5"):
    """torchvision/models/shufflenetv2.py; NanoDet has the same but conv5 in stage 4."""

    def named(begin, numbers):
        return [(f"{begin}.{a}", f"{begin}.{b}") for a, b in numbers]

    return (
        (f"{prefix}conv1.0", f"{prefix}conv1.1"),
        lambda s, i, n: named(f"{prefix}stage{s + 2}.{i}.branch1", ((0, 1), (2, 3))),
        lambda s, i, n: named(f"{prefix}stage{s + 2}.{i}.branch2", ((0, 1), (3, 4), (5, 6))),
        (f"{prefix}{last}.0", f"{prefix}{last}.1"),
    )


def openmmlab_names(prefix="backbone."):
    """mmpretrain/models/backbones/shufflenet_v2.py."""
    ends = (".conv", ".bn")
    return (
        (f"{prefix}conv1.conv", f"{prefix}conv1.bn"),
        lambda s, i, n: pairs(f"{prefix}layers.{s}.{i}.branch1.", "01", *ends),
        lambda s, i, n: pairs(f"{prefix}layers.{s}.{i}.branch2.", "012", *ends),
        (f"{prefix}layers.3.conv", f"{prefix}layers.3.bn"),
    )


def pytorchcv_names():
    """osmr/imgclsmob pytorch/pytorchcv/models/shufflenetv2.py."""

    def unit(s, i):
        return f"features.stage{s + 1}.unit{i + 1}."

    def named(begin, names):
        return [(f"{begin}{conv}", f"{begin}{bn}") for conv, bn in names]

    return (
        ("features.init_block.conv.conv", "features.init_block.conv.bn"),
        lambda s, i, n: named(unit(s, i), (("dw_conv4", "dw_bn4"), ("expand_conv5", "expand_bn5"))),
        lambda s, i, n: named(
            unit(s, i),
            (
                ("compress_conv1", "compress_bn1"),
                ("dw_conv2", "dw_bn2"),
                ("expand_conv3", "expand_bn3"),
            ),
        ),
        ("features.final_block.conv", "features.final_block.bn"),
    )


def pytorchcv_b_names():
    """osmr/imgclsmob pytorch/pytorchcv/models/shufflenetv2b.py."""
    ends = (".conv", ".bn")

    def unit(s, i):
        return f"features.stage{s + 1}.unit{i + 1}."

    return (
        ("features.init_block.conv.conv", "features.init_block.conv.bn"),
        lambda s, i, n: pairs(unit(s, i), ("shortcut_dconv", "shortcut_conv"), *ends),
        lambda s, i, n: pairs(unit(s, i), ("conv1", "dconv", "conv2"), *ends),
        ("features.final_block.conv", "features.final_block.bn"),
    )


def paddle_names(*ends):
    """PaddleDetection ppdet/modeling/backbones/shufflenet_v2.py, and paddle.vision's."""

    def unit(s, i):
        return f"{s + 2}_{i + 1}."

    def branch2(s, i, n):
        names = ("_conv_pw", "_conv_dw", "_conv_linear")
        return pairs(unit(s, i), names if i else [f"{name}_2" for name in names], *ends)

    return (
        pairs("", ("_conv1",), *ends)[0],
        lambda s, i, n: pairs(unit(s, i), ("_conv_dw_1", "_conv_linear_1"), *ends),
        branch2,
        pairs("", ("_last_conv",), *ends)[0],
    )


def megvii_v2(t, x, widths, conv5):
    """megvii-model/ShuffleNet-Series ShuffleNetV2/blocks.py and network.py."""

    def named(begin, numbers):
        return [(f"{begin}.{a}", f"{begin}.{b}") for a, b in numbers]

    def unit_of(x, stage, unit, number, width):
        main = named(f"features.{number}.branch_main", ((0, 1), (3, 4), (5, 6)))
        if unit:
            x1, x2 = x[:, 0::2], x[:, 1::2]
            y = main_branch(t, x2, main, width // 2, width // 2, 1)
        else:
            proj = named(f"features.{number}.branch_proj", ((0, 1), (2, 3)))
            x1 = depthwise_branch(t, x, proj, x.shape[1])
            y = main_branch(t, x, main, width // 2, width - x.shape[1], 2)
        return torch.cat((x1, y), 1)

    x = t.bn(t.conv(x, "first_conv.0", 24, 3, 2), "first_conv.1").relu()
    outs = walk(F.max_pool2d(x, 3, 2, 1), widths, unit_of)
    return [*outs, t.bn(t.conv(outs[-1], "conv_last.0", conv5), "conv_last.1").relu()]
