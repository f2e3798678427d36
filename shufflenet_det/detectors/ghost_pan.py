"""The necks of NanoDet and NanoDet-Plus (github.com/RangiLyu/nanodet, ``nanodet/model/fpn``)."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmengine.model import BaseModule, kaiming_init
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.layers import Cfg, activation, conv_norm

KERNEL_SIZE = 5  # of NanoDet-Plus's depthwise convolutions
NORM: Cfg = {"type": "BN"}
CFGS: dict[str, Any] = {"conv_cfg": None, "norm_cfg": NORM}
LEAKY: Cfg = {"type": "LeakyReLU", "negative_slope": 0.1, "inplace": True}


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Resize ``x`` bilinearly to the height and width of ``like``."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class BilinearPAN(BaseModule):
    """NanoDet's path aggregation: a 1x1 convolution per level, then sums of resized maps."""

    def __init__(
        self, in_channels: Sequence[int], out_channels: int, init_cfg: Cfg | None = None
    ) -> None:
        """``in_channels``: those of the maps, finest first; the default init_cfg is Xavier's."""
        default = {"type": "Xavier", "layer": "Conv2d", "distribution": "uniform"}
        super().__init__(init_cfg=init_cfg or default)
        self.lateral_convs = nn.ModuleList(
            ConvModule(channels, out_channels, 1, act_cfg=None) for channels in in_channels
        )

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Maps (N, C_i, H_i, W_i) to maps (N, out_channels, H_i, W_i)."""
        maps = [conv(x) for conv, x in zip(self.lateral_convs, inputs, strict=True)]
        for i in range(len(maps) - 1, 0, -1):
            maps[i - 1] = maps[i - 1] + resized(maps[i], maps[i - 1])
        for i in range(len(maps) - 1):
            maps[i + 1] = maps[i + 1] + resized(maps[i], maps[i + 1])
        return tuple(maps)


class GhostModule(nn.Module):
    """The ghost module of GhostNet (arXiv:1911.11907, Fig. 1).

    A 1x1 convolution outputs half of the channels, and a depthwise 3x3 convolution of these the
    other half.
    """

    def __init__(self, in_channels: int, out_channels: int, *, act: bool) -> None:
        """Build the layers; ``act``: an activation follows each convolution."""
        super().__init__()
        half = out_channels // 2

        def layer(*args: int) -> nn.Sequential:
            layers = conv_norm(*args, **CFGS)
            return nn.Sequential(*layers, *([activation(LEAKY)] if act else ()))

        self.primary_conv = layer(in_channels, half, 1)
        self.cheap_operation = layer(half, half, 3, 1, half)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H, W)."""
        x = self.primary_conv(x)
        return torch.cat((x, self.cheap_operation(x)), dim=1)


class GhostBlock(nn.Module):
    """Two ghost modules and a depthwise-separable shortcut, without activation after the sum."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        """Build the layers."""
        super().__init__()
        self.ghost1 = GhostModule(in_channels, out_channels, act=True)
        self.ghost2 = GhostModule(out_channels, out_channels, act=False)
        self.shortcut = nn.Sequential(
            *conv_norm(in_channels, in_channels, KERNEL_SIZE, 1, in_channels, **CFGS),
            *conv_norm(in_channels, out_channels, 1, **CFGS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H, W)."""
        return self.ghost2(self.ghost1(x)) + self.shortcut(x)


class GhostPAN(BaseModule):
    """NanoDet-Plus's neck: path aggregation with ghost blocks, and one additional coarser level.

    BatchNorm follows every convolution, and LeakyReLU(0.1) most of them. The additional level is
    the sum of two strided depthwise-separable convolutions, one of the coarsest input and one of
    the coarsest output.
    """

    def __init__(
        self, in_channels: Sequence[int], out_channels: int, init_cfg: Cfg | None = None
    ) -> None:
        """``in_channels``: those of the maps, finest first; ``out_channels`` must be even."""
        super().__init__(init_cfg=init_cfg)
        steps = range(len(in_channels) - 1)
        cfgs = {"norm_cfg": NORM, "act_cfg": LEAKY}

        def ghost_block() -> GhostBlock:
            return GhostBlock(2 * out_channels, out_channels)

        def downsample() -> DepthwiseSeparableConvModule:
            return DepthwiseSeparableConvModule(
                out_channels, out_channels, KERNEL_SIZE, 2, KERNEL_SIZE // 2, **cfgs
            )

        self.reduce_layers = nn.ModuleList(
            ConvModule(channels, out_channels, 1, **cfgs) for channels in in_channels
        )
        self.top_down_blocks = nn.ModuleList(ghost_block() for _ in steps)  # coarsest first
        self.downsamples = nn.ModuleList(downsample() for _ in steps)
        self.bottom_up_blocks = nn.ModuleList(ghost_block() for _ in steps)
        self.extra_in = downsample()
        self.extra_out = downsample()
        for module in self.modules():
            if isinstance(module, ConvModule):  # mmcv considers the slope, NanoDet does not
                kaiming_init(module.conv, a=0, nonlinearity="leaky_relu")

    def forward(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """(N, C_i, H_i, W_i) to (N, out_channels, H_i, W_i), and one of half the coarsest size."""
        laterals = [layer(x) for layer, x in zip(self.reduce_layers, inputs, strict=True)]
        inner = laterals[-1:]  # finest first
        for lateral, block in zip(laterals[-2::-1], self.top_down_blocks, strict=True):
            inner.insert(0, block(torch.cat((resized(inner[0], lateral), lateral), dim=1)))
        outs = inner[:1]
        for x, downsample, block in zip(
            inner[1:], self.downsamples, self.bottom_up_blocks, strict=True
        ):
            outs.append(block(torch.cat((downsample(outs[-1]), x), dim=1)))
        outs.append(self.extra_in(laterals[-1]) + self.extra_out(outs[-1]))
        return tuple(outs)
