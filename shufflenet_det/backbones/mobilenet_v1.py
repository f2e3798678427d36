"""MobileNet (Howard et al., 2017, arXiv:1704.04861), which ShuffleNet's papers compare with."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from .base import LevelBackbone
from .layers import Cfg, activation, conv_norm

# {widen_factor: (stem, first unit, stages 1 to 4)}. 1.0x: Table 1; the others are the paper's width
# multipliers (Sec. 3.3, Table 6), which leave nothing to round.
WIDTHS: dict[float, tuple[int, int, int, int, int, int]] = {
    0.25: (8, 16, 32, 64, 128, 256),
    0.5: (16, 32, 64, 128, 256, 512),
    0.75: (24, 48, 96, 192, 384, 768),
    1.0: (32, 64, 128, 256, 512, 1024),
}
# Units of stages 1 to 4, the first unit aside (Table 1).
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
        """``stride``: of the depthwise convolution."""
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

    Levels: 0, 1, 2, 3 are the last maps of stride 4, 8, 16 and 32, of 128, 256, 512 and 1024
    channels at 1.0x. There is no max-pooling: the units that Table 1 has at strides 2 and 4 are
    ``stage1``. Table 1 prints stride 2 at its last depthwise convolution, too, whose map is 7x7 in
    the next row as before: it is 1 here, which the paper's 569 M multiply-adds confirm.
    """

    @classmethod
    def builds(cls, stem_channels: int) -> Iterator[dict[str, Any]]:
        """See :class:`LevelBackbone`."""
        for factor, row in WIDTHS.items():
            if row[0] == stem_channels:
                yield {"widen_factor": factor}

    def __init__(self, widen_factor: float = 1.0, **kwargs: Any) -> None:
        """Build the network.

        Args:
            widen_factor: Width multiplier: 0.25, 0.5, 0.75 or 1.0.
            **kwargs: ``out_indices``, ``act_cfg``, …: see :class:`LevelBackbone`.

        Raises:
            ValueError: An argument is not one of its legal values, which are named.
        """
        if widen_factor not in WIDTHS:
            raise ValueError(f"widen_factor={widen_factor!r}: must be one of {sorted(WIDTHS)}")
        stem, self._first_channels, *stages = WIDTHS[widen_factor]
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
