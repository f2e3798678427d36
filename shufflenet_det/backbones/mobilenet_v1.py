"""MobileNet (Howard et al., 2017, arXiv:1704.04861); ShuffleNet's papers compare with it."""

from typing import Any, ClassVar

from torch import Tensor, nn

from .base import LevelBackbone
from .layers import Cfg, activation, conv_norm

# Units of stages 1 to 4, without the very first unit (Table 1).
REPEATS = (2, 2, 6, 2)


class SeparableUnit(nn.Module):
    """A depthwise separable convolution (Sec. 3.2, Fig. 3).

    3x3 depthwise and 1x1 convolution, each with normalisation and activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        conv_norm_cfg: dict[str, Any],
        act_cfg: Cfg,
    ) -> None:
        """Build the unit; ``stride`` is that of the depthwise convolution."""
        super().__init__()
        self.depthwise = nn.Sequential(
            *conv_norm(in_channels, in_channels, 3, stride, in_channels, **conv_norm_cfg),
            activation(act_cfg),
        )
        self.pointwise = nn.Sequential(
            *conv_norm(in_channels, out_channels, 1, **conv_norm_cfg), activation(act_cfg)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return self.pointwise(self.depthwise(x))


class MobileNetV1(LevelBackbone):
    """MobileNet (2017, Table 1), the other backbone of ShuffleNet V1's Table 7.

    Levels 0 to 3 are the last maps of strides 4, 8, 16 and 32, with 128, 256, 512 and 1024 channels
    at 1.0x. There is no max-pooling: ``stage1`` contains the units of strides 2 and 4. Table 1
    prints stride 2 for the last depthwise convolution too, but the map of the next row is still
    7x7. So the stride is 1 here, which gives the paper's 569 M multiply-adds.
    """

    # Stem, first unit, stages 1 to 4. 1.0x: Table 1; the others: the paper's width multipliers
    # (Sec. 3.3, Table 6), without rounding.
    WIDTHS: ClassVar[dict[float, tuple[int, ...]]] = {
        0.25: (8, 16, 32, 64, 128, 256),
        0.5: (16, 32, 64, 128, 256, 512),
        0.75: (24, 48, 96, 192, 384, 768),
        1.0: (32, 64, 128, 256, 512, 1024),
    }

    def __init__(self, widen_factor: float = 1.0, **kwargs: Any) -> None:
        """Build the network.

        Args:
            widen_factor: Width multiplier: 0.25, 0.5, 0.75 or 1.0.
            **kwargs: ``out_indices``, ``act_cfg``, …: see :class:`LevelBackbone`.

        Raises:
            ValueError: An argument is not legal; the message names the legal values.
        """
        stem, self._first_channels, *stages = self._widths_of(widen_factor)
        names = ("conv1", "stage1", "stage2", "stage3", "stage4")
        super().__init__(dict(zip(names, (stem, *stages), strict=True)), REPEATS, **kwargs)

    def _make_part(self, name: str, in_channels: int, out_channels: int) -> tuple[nn.Module, int]:
        if name == "conv1":
            return self._conv_norm_act(in_channels, out_channels, 3, 2), 2
        if name != "stage1":
            return self._make_stage(SeparableUnit, name, in_channels, out_channels), 2
        cfgs: dict[str, Any] = {"conv_norm_cfg": self._conv_norm_cfg, "act_cfg": self._act_cfg}
        first = SeparableUnit(in_channels, self._first_channels, 1, **cfgs)
        others = self._make_stage(SeparableUnit, name, self._first_channels, out_channels)
        return nn.Sequential(first, *others), 2

    def _make_maxpool(self) -> tuple[nn.Module, int]:
        return nn.Identity(), 1
