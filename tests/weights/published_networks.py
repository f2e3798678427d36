"""The published ShuffleNets as in their sources, without code of this package.

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

    def conv_bn(self, x, names, *arguments, **kwargs):
        return self.bn(self.conv(x, names[0], *arguments, **kwargs), names[1])

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


def walk(x, widths, unit_of):
    """The outputs of the stem and of each stage; ``unit_of`` gets stage, unit, number and width."""
    outs, number = [x], 0
    for stage, (width, repeats) in enumerate(zip(widths, REPEATS, strict=True)):
        for unit in range(repeats):
            x = unit_of(x, stage, unit, number, width)
            number += 1
        outs.append(x)
    return outs


def pairs(begin, *layers):
    """The names of convolution and norm of each layer of a unit.

    ``begin`` may contain the stage {s}, from 0, {s1} or {s2}, the unit {i} or {i1}, and the number
    {n} of the unit in the network.
    """

    def of_unit(s, i, n):
        start = begin.format(s=s, s1=s + 1, s2=s + 2, i=i, i1=i + 1, n=n)
        return [[start + name for name in layer.split()] for layer in layers]

    return of_unit


def v1(t, x, groups, widths, names, *, bias=False, shuffled=shuffle, late=False, pooled_last=False):
    """The max-pooling and the stages of a V1; ``late``: the shuffle follows the depthwise layer."""

    def unit_of(x, stage, unit, number, width):
        compress, depthwise, expand = names(stage, unit, number)
        mid, out = width // 4, width - (0 if unit else x.shape[1])
        y = t.conv_bn(x, compress, mid, groups=groups if number else 1, bias=bias).relu()
        y = y if late else shuffled(y, groups)
        y = t.conv_bn(y, depthwise, mid, 3, 1 if unit else 2, mid, bias)
        y = shuffled(y, groups) if late else y
        y = t.conv_bn(y, expand, out, groups=groups, bias=bias)
        if unit:
            return (x + y).relu()
        pooled = F.avg_pool2d(x, 3, 2, 1)
        return torch.cat((y, pooled) if pooled_last else (pooled, y), 1).relu()

    return walk(F.max_pool2d(x, 3, 2, 1), widths, unit_of)


def megvii_v1(t, x, groups, stem, widths):
    """megvii-model/ShuffleNet-Series ShuffleNetV1/blocks.py and network.py."""
    x = t.conv_bn(x, ("first_conv.0", "first_conv.1"), stem, 3, 2).relu()
    names = pairs("features.{n}.branch_main_", "1.0 1.1", "1.3 1.4", "2.0 2.1")
    return v1(t, x, groups, widths, names, shuffled=inverse_shuffle, late=True)


def openmmlab_v1(t, x, groups, stem, widths):
    """mmpretrain/models/backbones/shufflenet_v1.py."""
    x = t.conv_bn(x, ("backbone.conv1.conv", "backbone.conv1.bn"), stem, 3, 2).relu()
    layers = ("g_conv_1x1_compress", "depthwise_conv3x3_bn", "g_conv_1x1_expand")
    names = pairs("backbone.layers.{s}.{i}.", *(f"{layer}.conv {layer}.bn" for layer in layers))
    return v1(t, x, groups, widths, names, late=True)


def jaxony_v1(t, x, groups, stem, widths):
    """jaxony/ShuffleNet model.py: biases, and a stem without norm and activation."""
    names = pairs(
        "stage{s2}.ShuffleUnit_Stage{s2}_{i}.",
        "g_conv_1x1_compress.conv1x1 g_conv_1x1_compress.batch_norm",
        "depthwise_conv3x3 bn_after_depthwise",
        "g_conv_1x1_expand.conv1x1 g_conv_1x1_expand.batch_norm",
    )
    return v1(t, t.conv(x, "conv1", stem, 3, 2, bias=True), groups, widths, names, bias=True)


def pytorchcv_v1(t, x, groups, stem, widths):
    """osmr/imgclsmob pytorch/pytorchcv/models/shufflenet.py: (result, pooled input)."""
    x = t.conv_bn(x, ("features.init_block.conv", "features.init_block.bn"), stem, 3, 2).relu()
    layers = ("compress_conv1 compress_bn1", "dw_conv2 dw_bn2", "expand_conv3 expand_bn3")
    names = pairs("features.stage{s1}.unit{i1}.", *layers)
    return v1(t, x, groups, widths, names, pooled_last=True)


def depthwise_branch(t, x, names, out):
    """3x3 depthwise, stride 2, and 1x1."""
    x = t.conv_bn(x, names[0], x.shape[1], 3, 2, x.shape[1])
    return t.conv_bn(x, names[1], out).relu()


def main_branch(t, x, names, mid, out, stride):
    """1x1, 3x3 depthwise, 1x1."""
    x = t.conv_bn(x, names[0], mid).relu()
    x = t.conv_bn(x, names[1], mid, 3, stride, mid)
    return t.conv_bn(x, names[2], out).relu()


def halves_v2(t, x, widths, conv5, names, *, split_24=False, pad=1):
    """A V2 that splits channels in halves and shuffles after every unit.

    ``names`` are those of the stem, of both branches of a unit, and of conv5.
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

    x = F.max_pool2d(t.conv_bn(x, stem, 24, 3, 2).relu(), 3, 2, pad, ceil_mode=not pad)
    outs = walk(x, widths, unit_of)
    return [*outs, t.conv_bn(outs[-1], last, conv5).relu()] if conv5 else outs


def torchvision_names(prefix="", last="conv5"):
    """torchvision/models/shufflenetv2.py; NanoDet has the same but conv5 in stage 4."""
    return (
        (f"{prefix}conv1.0", f"{prefix}conv1.1"),
        pairs(f"{prefix}stage{{s2}}.{{i}}.branch1.", "0 1", "2 3"),
        pairs(f"{prefix}stage{{s2}}.{{i}}.branch2.", "0 1", "3 4", "5 6"),
        (f"{prefix}{last}.0", f"{prefix}{last}.1"),
    )


def openmmlab_names():
    """mmpretrain/models/backbones/shufflenet_v2.py."""
    return (
        ("backbone.conv1.conv", "backbone.conv1.bn"),
        pairs("backbone.layers.{s}.{i}.branch1.", "0.conv 0.bn", "1.conv 1.bn"),
        pairs("backbone.layers.{s}.{i}.branch2.", "0.conv 0.bn", "1.conv 1.bn", "2.conv 2.bn"),
        ("backbone.layers.3.conv", "backbone.layers.3.bn"),
    )


def pytorchcv_names():
    """osmr/imgclsmob pytorch/pytorchcv/models/shufflenetv2.py."""
    unit = "features.stage{s1}.unit{i1}."
    return (
        ("features.init_block.conv.conv", "features.init_block.conv.bn"),
        pairs(unit, "dw_conv4 dw_bn4", "expand_conv5 expand_bn5"),
        pairs(unit, "compress_conv1 compress_bn1", "dw_conv2 dw_bn2", "expand_conv3 expand_bn3"),
        ("features.final_block.conv", "features.final_block.bn"),
    )


def pytorchcv_b_names():
    """osmr/imgclsmob pytorch/pytorchcv/models/shufflenetv2b.py."""
    unit = "features.stage{s1}.unit{i1}."
    return (
        ("features.init_block.conv.conv", "features.init_block.conv.bn"),
        pairs(unit, "shortcut_dconv.conv shortcut_dconv.bn", "shortcut_conv.conv shortcut_conv.bn"),
        pairs(unit, *(f"{layer}.conv {layer}.bn" for layer in ("conv1", "dconv", "conv2"))),
        ("features.final_block.conv", "features.final_block.bn"),
    )


def paddle_names(conv, bn):
    """PaddleDetection ppdet/modeling/backbones/shufflenet_v2.py, and paddle.vision's."""

    def named(*layers):
        return pairs("{s2}_{i1}.", *(f"{layer}{conv} {layer}{bn}" for layer in layers))

    def branch2(s, i, n):
        layers = ("_conv_pw", "_conv_dw", "_conv_linear")
        return named(*(layers if i else (f"{layer}_2" for layer in layers)))(s, i, n)

    return (
        (f"_conv1{conv}", f"_conv1{bn}"),
        named("_conv_dw_1", "_conv_linear_1"),
        branch2,
        (f"_last_conv{conv}", f"_last_conv{bn}"),
    )


def megvii_v2(t, x, widths, conv5):
    """megvii-model/ShuffleNet-Series ShuffleNetV2/blocks.py and network.py."""
    main = pairs("features.{n}.branch_main.", "0 1", "3 4", "5 6")
    proj = pairs("features.{n}.branch_proj.", "0 1", "2 3")

    def unit_of(x, stage, unit, number, width):
        names = main(stage, unit, number)
        if unit:
            x1, x2 = x[:, 0::2], x[:, 1::2]
            y = main_branch(t, x2, names, width // 2, width // 2, 1)
        else:
            x1 = depthwise_branch(t, x, proj(stage, unit, number), x.shape[1])
            y = main_branch(t, x, names, width // 2, width - x.shape[1], 2)
        return torch.cat((x1, y), 1)

    x = t.conv_bn(x, ("first_conv.0", "first_conv.1"), 24, 3, 2).relu()
    outs = walk(F.max_pool2d(x, 3, 2, 1), widths, unit_of)
    return [*outs, t.conv_bn(outs[-1], ("conv_last.0", "conv_last.1"), conv5).relu()]
