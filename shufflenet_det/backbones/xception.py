"""The small Xception of Light-Head R-CNN (arXiv:1711.07264) and ShuffleNet V2 (arXiv:1807.11164).

It is not the original Xception (Chollet, CVPR 2017), which is many times larger.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from .base import LevelBackbone
from .layers import Cfg, activation, conv_norm

# Units of stages 2, 3, 4 (Light-Head R-CNN, Table 7).
REPEATS = (4, 8, 4)
# Output channels of a unit, divided by the channels between its convolutions, as in ResNet.
BOTTLENECK = 4


class XceptionUnit(nn.Module):
    """ResNet's bottleneck with separable convolutions, without pre-activation.

    The branch has three pairs of a 3x3 depthwise and a 1x1 convolution, which see 7x7 pixels. The
    input is added, at stride 2 through a 1x1 convolution, and the activation follows the sum.
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
        """Build the unit; the first depthwise convolution and the shortcut have ``stride``."""
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

    Light-Head R-CNN (Table 7) describes a stem of 24 channels with max-pooling, stages of 4, 8 and
    4 units, bottlenecks of separable convolutions without pre-activation, and 145 M at 224x224.
    ShuffleNet V2 gives 40, 145, 305 and 525 M at 0.5x to 2.0x (Table 8), and units that see 7x7
    pixels (Sec. 4). Neither paper released the network. Our choices for the open points:

    - The unit and the widths of 0.5x are those of Xception39 from BiSeNet (arXiv:1808.00897). Two
      of its authors also wrote Light-Head R-CNN, and its code is public
      (``furnace/base_model/xception.py`` of yu-changqian/TorchSeg). All three convolutions of its
      bottleneck of ratio 4 are separable, without normalisation between depthwise and pointwise.
    - The other widths are multiples of Xception39's. With a classifier of 1000 classes this gives
      39.5, 144.8, 304.6 and 525.4 M: all four figures of ShuffleNet V2. The 144, 288 and 576
      channels of Light-Head R-CNN's Table 7 would give 179.0 M (``stage_channels``).
    - The shortcut at stride 2 is a 1x1 convolution, as in ResNet. A separable one, as in
      Xception39, would need 0.2 to 0.8 M more, and 526 M at 2.0x.
    """

    # Stem, stages 2 to 4.
    WIDTHS: ClassVar[dict[float, tuple[int, ...]]] = {
        0.5: (8, 64, 128, 256),
        1.0: (24, 128, 256, 512),
        1.5: (24, 192, 384, 768),
        2.0: (24, 256, 512, 1024),
    }

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
            stage_channels: Channels of stages 2, 3, 4; None: those of ``widen_factor``.
            **kwargs: ``out_indices``, ``act_cfg``, …: see :class:`LevelBackbone`.

        Raises:
            ValueError: An argument is not legal; the message names the legal values.
        """
        stem, *stages = self._widths_of(widen_factor)
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
