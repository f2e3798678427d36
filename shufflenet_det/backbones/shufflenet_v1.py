"""ShuffleNet V1 (Zhang et al., CVPR 2018, arXiv:1707.01083v2)."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import LevelBackbone
from .layers import Cfg, activation, channel_shuffle, conv_norm, squeeze_excitation

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
STAGE_2 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # {groups: channels at 1.0x} (Table 1)
# Output channels of a unit, divided by those of its depthwise convolution (Sec. 3.2).
BOTTLENECK = 4


def _up_to_multiple(channels: float, divisor: int) -> int:
    return ceil(channels / divisor) * divisor


# {(groups, widen_factor): (stem, stage 2, stage 3, stage 4)}.
# 1.0x: Table 1. The other factors multiply the filters of every layer (Sec. 3.3), rounded up so
# that the groups divide them; the stems are those of the authors' release (24 also at 1.5x). 0.75x
# is not in the paper, but pytorchcv has published it.
WIDTHS: dict[tuple[int, float], tuple[int, ...]] = {
    (groups, factor): (
        _up_to_multiple(24 * (1.0 if factor == 1.5 else factor), groups),
        *(_up_to_multiple(n * channels * factor, BOTTLENECK * groups) for n in (1, 2, 4)),
    )
    for groups, channels in STAGE_2.items()
    for factor in FACTORS
}
# Units of stages 2, 3, 4 (Table 1).
REPEATS = (4, 8, 4)
# ShuffleNet V1-50, 3 groups (V2's paper, Table 6 and appendix): stem and stages 1 to 4, units,
# bottleneck ratio. The appendix has a stem of 64, rounded up here so that 3 groups divide it, and
# no bottleneck ratio: 2 gives its 2.3 G multiply-adds.
WIDTHS_50 = (66, 360, 720, 1440, 2880)
REPEATS_50 = (3, 4, 6, 3)
BOTTLENECK_50 = 2
SHUFFLES = ("paper", "inverse", "none")


class ShuffleUnitV1(nn.Module):
    """One ShuffleNet unit (V1, Sec. 3.2, Fig. 2b and 2c).

    The branch is a 1x1 grouped convolution, a shuffle, a 3x3 depthwise convolution without
    activation and a 1x1 grouped convolution. The input is added to its output. If the number of
    channels grows, the input, average-pooled by 3x3 at stride 2, is concatenated before it instead.
    The activation comes last.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        groups: int,
        *,
        mid_channels: int,
        first_groups: int,
        shuffle_groups: int,
        se_reduction: int | None,
        conv_norm_cfg: dict[str, Any],
        act_cfg: Cfg,
    ) -> None:
        """Build the unit.

        ``first_groups`` and ``groups`` are the groups of the first and the second pointwise
        convolution, and ``mid_channels`` the channels between them; ``shuffle_groups`` is the
        argument of ``channel_shuffle``.
        """
        super().__init__()
        self.stride = stride
        self.concatenates = stride == 2 or in_channels != out_channels
        branch_channels = out_channels - in_channels if self.concatenates else out_channels
        self.shuffle_groups = shuffle_groups
        self.compress = nn.Sequential(
            *conv_norm(in_channels, mid_channels, 1, 1, first_groups, **conv_norm_cfg),
            activation(act_cfg),
        )
        self.depthwise = nn.Sequential(
            *conv_norm(mid_channels, mid_channels, 3, stride, mid_channels, **conv_norm_cfg)
        )
        self.expand = nn.Sequential(
            *conv_norm(mid_channels, branch_channels, 1, 1, groups, **conv_norm_cfg),
            *squeeze_excitation(branch_channels, out_channels, se_reduction),
        )
        self.act = activation(act_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        out = self.compress(x)
        if self.shuffle_groups > 1:
            out = channel_shuffle(out, self.shuffle_groups)
        out = self.expand(self.depthwise(out))
        if not self.concatenates:
            return self.act(x + out)
        shortcut = F.avg_pool2d(x, 3, stride=2, padding=1) if self.stride == 2 else x
        return self.act(torch.cat((shortcut, out), dim=1))


class ShuffleNetV1(LevelBackbone):
    """ShuffleNet V1 (CVPR 2018, Table 1; widths at other scale factors as released).

    All 1x1 convolutions of the units are grouped, except the very first, whose input is the narrow
    stem (caption of Table 1). Levels: 0 stem (stride 4), 1, 2, 3 the paper's stages 2, 3, 4
    (strides 8, 16, 32).

    Our choices for the points that the papers leave open: squeeze-and-excitation follows the last
    convolution of a unit, before the sum or the concatenation; ``se_reduction=16`` gives the 527 M
    multiply-adds of "2x (with SE, g=3)" in Table 5. The first stage of V1-50 has stride 1, and its
    first unit concatenates its input without pooling.
    """

    UNSEEN: ClassVar[dict[str, Any]] = {"shuffle": "paper", "stem_act": True}

    @classmethod
    def builds(cls, stem_channels: int) -> Iterator[dict[str, Any]]:
        """See :class:`LevelBackbone`."""
        rows = sorted(WIDTHS.items(), key=lambda item: item[1][0] != stem_channels)
        for (groups, factor), (stem, stage, *_) in rows:
            if stem == stem_channels:
                yield {"groups": groups, "widen_factor": factor}
            elif stem_channels in range(groups, stage, groups):
                yield {"groups": groups, "widen_factor": factor, "stem_channels": stem_channels}
        if stem_channels == WIDTHS_50[0]:
            yield {"groups": 3, "depth": 50}

    @classmethod
    def same_shapes(cls, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """See :class:`LevelBackbone`."""
        if arguments.get("groups", 3) == 1:
            return [{}]
        return [{"shuffle": name} for name in SHUFFLES]

    def __init__(
        self,
        groups: int = 3,
        widen_factor: float = 1.0,
        shuffle: str = "paper",
        *,
        depth: int | None = None,
        bottleneck_ratio: int | None = None,
        stage_repeats: Sequence[int] | None = None,
        stem_channels: int | None = None,
        stem_act: bool = True,
        se_reduction: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Build the network.

        Args:
            groups: Groups of the pointwise convolutions: 1, 2, 3, 4 or 8.
            widen_factor: Scale factor of the widths: 0.25, 0.5, 0.75, 1.0, 1.5 or 2.0.
            shuffle: The order of the shuffled channels; each gives another network with the same
                weights. 'paper': (g, C/g) transposed (Fig. 1); 'inverse': (C/g, g) transposed, as
                the authors released it; 'none': no shuffle (Table 3).
            depth: 50 for ShuffleNet V1-50 with 3 groups (V2's paper, Table 6); None for Table 1.
            bottleneck_ratio: Output channels of a unit, divided by those of its depthwise
                convolution; None: 4 (Sec. 3.2), or 2 in V1-50.
            stage_repeats: Number of units of each stage; None: 4, 8, 4 (Table 1), in V1-50 3, 4,
                6, 3.
            stem_channels: Channels of the stem; None: the authors' (other code has 36 at 1.5x).
            stem_act: Whether an activation follows the stem's normalisation.
            se_reduction: Squeeze-and-excitation in every unit (Table 5). It squeezes to the unit's
                output channels divided by this number; None: no squeeze-and-excitation.
            **kwargs: ``out_indices``, ``act_cfg``, …: see :class:`LevelBackbone`.

        Raises:
            ValueError: An argument or a combination of them is not legal; the message names the
                legal values.
        """
        if shuffle not in SHUFFLES:
            raise ValueError(f"shuffle={shuffle!r}: must be one of {SHUFFLES}")
        names: tuple[str, ...] = ("conv1", "stage2", "stage3", "stage4")
        repeats: Sequence[int] = REPEATS
        ratio = BOTTLENECK
        if depth is None:
            if (groups, widen_factor) not in WIDTHS:
                raise ValueError(
                    f"groups={groups!r}, widen_factor={widen_factor!r}: groups must be one of "
                    f"{list(STAGE_2)}, widen_factor one of {list(FACTORS)}"
                )
            row = WIDTHS[groups, widen_factor]
        elif (depth, groups, widen_factor) == (50, 3, 1.0):
            names = ("conv1", "stage1", "stage2", "stage3", "stage4")
            row, repeats, ratio = WIDTHS_50, REPEATS_50, BOTTLENECK_50
        else:
            raise ValueError(
                f"depth={depth!r}, groups={groups!r}, widen_factor={widen_factor!r}: depth must be "
                "None, or 50 with groups=3 and widen_factor=1.0"
            )
        widths = dict(zip(names, row, strict=True))
        if stem_channels is not None:
            if stem_channels not in range(groups, row[1], groups):
                raise ValueError(
                    f"stem_channels={stem_channels!r}: must be a multiple of groups={groups} below "
                    f"the first stage's {row[1]} channels"
                )
            widths["conv1"] = stem_channels
        self.groups = groups
        self.shuffle = shuffle
        self.stem_act = stem_act
        self._ratio = ratio if bottleneck_ratio is None else bottleneck_ratio
        _check_ratio(self._ratio, groups, row[1:])
        self._se_reduction = se_reduction
        super().__init__(widths, repeats if stage_repeats is None else stage_repeats, **kwargs)

    def _make_part(self, name: str, in_channels: int, out_channels: int) -> tuple[nn.Module, int]:
        if name == "conv1":
            stem = self._conv_norm_act(in_channels, out_channels, 3, 2)
            return stem if self.stem_act else stem[:2], 2
        mid_channels = out_channels // self._ratio
        shuffle_groups = {
            "paper": self.groups,
            "inverse": mid_channels // self.groups if self.groups > 1 else 1,
            "none": 1,
        }[self.shuffle]
        stride = 1 if name == "stage1" else 2
        # The first convolution of the very first unit is not grouped, because the stem is narrow.
        first = {"first_groups": 1} if name == next(iter(self._repeats)) else None
        return self._make_stage(
            ShuffleUnitV1,
            name,
            in_channels,
            out_channels,
            stride,
            first=first,
            groups=self.groups,
            mid_channels=mid_channels,
            first_groups=self.groups,
            shuffle_groups=shuffle_groups,
            se_reduction=self._se_reduction,
        ), stride


def _check_ratio(ratio: int, groups: int, widths: Sequence[int]) -> None:
    def fits(candidate: int) -> bool:
        return all(width % (candidate * groups) == 0 for width in widths)

    if not isinstance(ratio, int) or ratio < 1 or not fits(ratio):
        legal = [candidate for candidate in range(1, min(widths) + 1) if fits(candidate)]
        raise ValueError(
            f"bottleneck_ratio={ratio!r}: the stages' {tuple(widths)} channels divided by it must "
            f"be multiples of groups={groups}, so it must be one of {legal}"
        )
