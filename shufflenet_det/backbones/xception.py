"""The small Xception of Light-Head R-CNN (arXiv:1711.07264) and ShuffleNet V2 (arXiv:1807.11164).

Not the network that the name comes from (Chollet, CVPR 2017), which is many times as large.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from .base import LevelBackbone
from .layers import Cfg, activation, conv_norm

# {widen_factor: (stem, stages 2 to 4)}. The papers list none of these rows: see the class.
WIDTHS: dict[float, tuple[int, int, int, int]] = {
    0.5: (8, 64, 128, 256),
    1.0: (24, 128, 256, 512),
    1.5: (24, 192, 384, 768),
    2.0: (24, 256, 512, 1024),
}
# Units of stages 2, 3, 4 (Light-Head R-CNN, Table 7).
REPEATS = (4, 8, 4)
# A unit's output channels over those between its convolutions, as in ResNet.
BOTTLENECK = 4


class XceptionUnit(nn.Module):
    """ResNet's bottleneck with separable convolutions, and without pre-activation.

    Three times 3x3 depthwise and 1x1 convolution, which see 7x7 pixels; then the input is added,
    at stride 2 through a 1x1 convolution, and the activation follows.
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
        """``stride``: of the first depthwise convolution and of the shortcut."""
        super().__init__()

        def separable(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
            depthwise, _ = conv_norm(
                in_channels, in_channels, 3, stride, in_channels, **conv_norm_cfg
            )
            return [depthwise, *conv_norm(in_channels, out_channels, 1, **conv_norm_cfg)]

        mid_channels = out_channels // BOTTLENECK
        self.shortcut = nn.Sequential(
            *(conv_norm(in_channels, out_channels, 1, 2, **conv_norm_cfg) if stride == 2 else ())
        )
        self.branch = nn.Sequential(
            *separable(in_channels, mid_channels, stride),
            activation(act_cfg),
            *separable(mid_channels, mid_channels),
            activation(act_cfg),
            *separable(mid_channels, out_channels),
        )
        self.act = activation(act_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        return self.act(self.shortcut(x) + self.branch(x))


class Xception(LevelBackbone):
    """The Xception of ShuffleNet V2's Table 7: about 40, 140, 300 and 500 M multiply-adds.

    Levels: 0 stem (stride 4), 1, 2, 3 stages 2, 3, 4 (strides 8, 16, 32).

    Light-Head R-CNN (Table 7) gives a stem of 24 channels with max-pooling, stages of 4, 8 and 4
    units, bottlenecks of separable convolutions without pre-activation, and 145 M at 224x224.
    ShuffleNet V2 gives 40, 145, 305 and 525 M at 0.5x to 2.0x (Table 8), and units that see 7x7
    pixels (Sec. 4). Neither released the network. What they leave open was taken so:

    - Unit and 0.5x are those of Xception39 of BiSeNet (arXiv:1808.00897), two of whose authors are
      Light-Head R-CNN's and whose code is public (``furnace/base_model/xception.py`` of
      yu-changqian/TorchSeg): all three convolutions of a bottleneck of ratio 4 are separable,
      without normalisation between depthwise and pointwise.
    - Widths are multiples of Xception39's. With them and a classifier of 1000 classes there are
      39.5, 144.8, 304.6 and 525.4 M: all four of V2's figures. Light-Head R-CNN's Table 7 lists
      144, 288 and 576 channels instead, which would be 179.0 M (``stage_channels``).
    - The shortcut at stride 2 is a 1x1 convolution, as ResNet's. A separable one, as Xception39
      has it, would need 0.2 to 0.8 M more, and 526 M at 2.0x.
    """

    @classmethod
    def builds(cls, stem_channels: int) -> Iterator[dict[str, Any]]:
        """See :class:`LevelBackbone`."""
        for factor, row in WIDTHS.items():
            if row[0] == stem_channels:
                yield {"widen_factor": factor}

    def __init__(
        self,
        widen_factor: float = 1.0,
        *,
        stage_channels: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        """Build the network.

        Args:
            widen_factor: Scale factor of the widths: 0.5, 1.0, 1.5 or 2.0.
            stage_channels: Channels of stages 2, 3, 4 where they are not as usual.
            **kwargs: ``out_indices``, ``act_cfg``, …: see :class:`LevelBackbone`.

        Raises:
            ValueError: An argument is not one of its legal values, which are named.
        """
        if widen_factor not in WIDTHS:
            raise ValueError(f"widen_factor={widen_factor!r}: must be one of {sorted(WIDTHS)}")
        stem, *stages = WIDTHS[widen_factor]
        if stage_channels is not None:
            stages = list(stage_channels) if isinstance(stage_channels, Sequence) else []
            legal = range(BOTTLENECK, 100_000, BOTTLENECK)
            if len(stages) != len(REPEATS) or not all(c in legal for c in stages):
                raise ValueError(
                    f"stage_channels={stage_channels!r}: must be {len(REPEATS)} multiples of "
                    f"{BOTTLENECK}, one for each stage"
                )
        names = ("conv1", "stage2", "stage3", "stage4")
        super().__init__(dict(zip(names, (stem, *stages), strict=True)), REPEATS, **kwargs)

    def _make_part(self, name: str, in_channels: int, out_channels: int) -> tuple[nn.Module, int]:
        if name == "conv1":
            return self._conv_norm_act(in_channels, out_channels, 3, 2), 2
        return self._make_stage(XceptionUnit, name, in_channels, out_channels), 2
