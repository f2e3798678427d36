"""ShuffleNet V2 (Ma et al., ECCV 2018, arXiv:1807.11164)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .base import LevelBackbone
from .layers import Cfg, activation, channel_shuffle, conv_norm, squeeze_excitation

# Units of stages 2, 3, 4 (Table 5).
REPEATS = (4, 8, 4)
# {depth: (stem, stages 1 to 4, conv6)} and units of the large networks (Table 6 and appendix).
WIDTHS_DEEP: dict[int, tuple[int, int, int, int, int, int]] = {
    50: (64, 244, 488, 976, 1952, 2048),
    164: (128, 340, 680, 1360, 2720, 2048),
}
REPEATS_DEEP = {50: (3, 4, 6, 3), 164: (10, 10, 23, 10)}
# V2-164's stem has two 3x3 convolutions before its last one.
STEM_BEFORE_164 = (64, 64)
LAYOUTS = ("torchvision", "paper", "pytorchcv", "pytorchcv_b")
SPLIT_24 = ("paper", "pytorchcv_b")  # branch1 of the first unit outputs the stem's 24 channels


class ShuffleUnitV2(nn.Module):
    """One ShuffleNet V2 unit (Sec. 3, Fig. 3c and 3d).

    At stride 1, half of the channels stay as they are, and the other half go through 1x1, 3x3
    depthwise and 1x1 convolutions (``branch2``). At stride 2, both branches see the whole input;
    ``branch1`` is a 3x3 depthwise and a 1x1 convolution. The unit concatenates both outputs.

    Channels are exchanged in one of two ways. By halves, as in torchvision: a stride-1 unit
    transforms the second half of its channels, and every output is shuffled. By parity, as in the
    authors' code: a unit transforms its odd channels, and outputs are not shuffled.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        branch1_channels: int,
        parity: bool,
        extra_depthwise: bool,
        se_reduction: int | None,
        residual: bool,
        conv_norm_cfg: dict[str, Any],
        act_cfg: Cfg,
    ) -> None:
        """Build the unit.

        ``branch1_channels`` is the number of output channels of the first branch; 0: it passes on
        half of the input. ``residual`` adds the input of the second branch to its output if the
        unit splits its input.
        """
        super().__init__()
        self.stride = stride
        self.parity = parity
        self.splits = not branch1_channels
        self.residual = residual and self.splits

        def conv(*args: int) -> list[nn.Module]:
            return conv_norm(*args, **conv_norm_cfg)

        mid_channels = out_channels // 2
        branch2_in = in_channels
        branch2_out = out_channels - branch1_channels
        self.branch1 = nn.Sequential()
        if self.splits:
            branch2_in = branch2_out = mid_channels
        else:
            self.branch1 = nn.Sequential(
                *conv(in_channels, in_channels, 3, stride, in_channels),
                *conv(in_channels, branch1_channels, 1),
                activation(act_cfg),
            )
        self.extra_depthwise = nn.Sequential(
            *(conv(branch2_in, branch2_in, 3, 1, branch2_in) if extra_depthwise else ())
        )
        self.branch2 = nn.Sequential(
            *conv(branch2_in, mid_channels, 1),
            activation(act_cfg),
            *conv(mid_channels, mid_channels, 3, stride, mid_channels),
            *conv(mid_channels, branch2_out, 1),
            *squeeze_excitation(branch2_out, out_channels, se_reduction),
        )
        self.act = activation(act_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        if not self.splits:
            x1, x2 = x, x
        elif self.parity:
            x1, x2 = channel_shuffle(x, x.size(1) // 2).chunk(2, dim=1)  # even, odd channels
        else:
            x1, x2 = x.chunk(2, dim=1)
        out = self.branch2(self.extra_depthwise(x2))
        out = self.act(x2 + out if self.residual else out)
        out = torch.cat((self.branch1(x1), out), dim=1)
        return out if self.parity else channel_shuffle(out, 2)


class ShuffleNetV2(LevelBackbone):
    """ShuffleNet V2 (ECCV 2018, Table 5) and its variants in the paper.

    Levels: 0 stem (stride 4), 1, 2, 3 the paper's stages 2, 3, 4 (strides 8, 16, 32), 4 the 1x1
    conv5 (stride 32). Parameter names are torchvision's, so its weights load as they are
    (``init_cfg=dict(type='Pretrained', checkpoint='torchvision://shufflenet_v2_x1_0.…')``).

    Our choices for the points that the paper leaves open:

    - V2* (Sec. 4, enlarged receptive field): the additional depthwise convolution has BatchNorm and
      no activation, as the paper's other depthwise convolutions. Only the second branch has one,
      since the first branch has no pointwise convolution before its depthwise one.
    - Squeeze-and-excitation and the residual path of V2-164: as in the authors' later large
      networks, the scale is applied to the second branch after its last normalisation, and the
      activation follows the sum. ``se_reduction=1`` gives the 597 M multiply-adds of "2x (with
      SE)" in Table 8 and the 12.7 G of V2-164 in Table 6.
    - V2-50 and V2-164: the first stage has stride 1, and both branches of its first unit see the
      whole input. This gives the 2.3 G and 12.7 G of Table 6.
    """

    # Stem, stages 2 to 4, conv5 (Table 5).
    WIDTHS: ClassVar[dict[float, tuple[int, ...]]] = {
        0.5: (24, 48, 96, 192, 1024),
        1.0: (24, 116, 232, 464, 1024),
        1.5: (24, 176, 352, 704, 1024),
        2.0: (24, 244, 488, 976, 2048),
    }

    UNSEEN: ClassVar[dict[str, Any]] = {"layout": "torchvision", "residual": False}
    LAST_LEVEL: ClassVar[int] = 4

    @classmethod
    def builds(cls, stem_channels: int) -> Iterator[dict[str, Any]]:
        """See :class:`LevelBackbone`."""
        rows = [({"widen_factor": factor}, row[0]) for factor, row in cls.WIDTHS.items()]
        rows += [({"depth": depth}, row[0]) for depth, row in WIDTHS_DEEP.items()]
        for layout in ("torchvision", "paper"):
            yield from ({**row, "layout": layout} for row, stem in rows if stem == stem_channels)

    @classmethod
    def same_shapes(cls, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """See :class:`LevelBackbone`."""
        depth, factor = arguments.get("depth"), arguments.get("widen_factor", 1.0)
        stem, stage, *_ = WIDTHS_DEEP[depth] if depth else cls.WIDTHS[factor]
        in_24 = arguments.get("layout") in SPLIT_24
        both = stage == 2 * stem
        return [{"layout": name} for name in LAYOUTS if both or (name in SPLIT_24) == in_24]

    def __init__(
        self,
        widen_factor: float = 1.0,
        layout: str = "torchvision",
        *,
        depth: int | None = None,
        extra_depthwise: bool = False,
        se_reduction: int | None = None,
        residual: bool = False,
        stage_repeats: Sequence[int] | None = None,
        conv5_channels: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Build the network.

        Args:
            widen_factor: Scale factor of the widths: 0.5, 1.0, 1.5 or 2.0.
            layout: One of four networks with the same name; the weights of one do not work in the
                others. 'torchvision': both branches of the very first unit output C/2 channels, and
                halves are shuffled. 'paper': the branches output 24 (as the stem) and C-24
                channels, and even and odd channels are separated, which gives the multiply-adds of
                Table 5. 'pytorchcv_b': 24 and C-24 channels, halves are shuffled. 'pytorchcv': as
                'torchvision', but the max-pooling does not pad, so that an odd side at stride 2
                gives one row or column less.
            depth: 50 or 164 for the large networks of Table 6; None for those of Table 5.
            extra_depthwise: V2*: an additional 3x3 depthwise convolution before the second branch
                of each unit.
            se_reduction: Squeeze-and-excitation in every unit. It squeezes to the unit's output
                channels divided by this number; None: no squeeze-and-excitation.
            residual: In every unit that splits, add the input of the second branch to its output.
            stage_repeats: Number of units of each stage; None: the paper's.
            conv5_channels: Channels of level 4; None: the paper's.
            **kwargs: ``out_indices``, ``act_cfg``, …: see :class:`LevelBackbone`.

        Raises:
            ValueError: An argument is not legal; the message names the legal values.
        """
        if layout not in LAYOUTS:
            raise ValueError(f"layout={layout!r}: must be one of {LAYOUTS}")
        names: tuple[str, ...] = ("conv1", "stage2", "stage3", "stage4", "conv5")
        row: Sequence[int] = self._widths_of(widen_factor)
        repeats: Sequence[int] = REPEATS
        if depth is not None:
            if depth not in WIDTHS_DEEP or widen_factor != 1.0:
                raise ValueError(
                    f"depth={depth!r}, widen_factor={widen_factor!r}: depth must be None or one of "
                    f"{list(WIDTHS_DEEP)}, these with widen_factor=1.0"
                )
            names = ("conv1", "stage1", "stage2", "stage3", "stage4", "conv5")
            row, repeats = WIDTHS_DEEP[depth], REPEATS_DEEP[depth]
        widths = dict(zip(names, row, strict=True))
        if conv5_channels is not None:
            if conv5_channels not in range(1, 100_000):
                raise ValueError(f"conv5_channels={conv5_channels!r}: must be a positive number")
            widths["conv5"] = conv5_channels
        self.layout = layout
        self.residual = residual
        self._depth = depth
        self._unit_options: dict[str, Any] = {
            "parity": layout == "paper",
            "extra_depthwise": extra_depthwise,
            "se_reduction": se_reduction,
            "residual": residual,
        }
        super().__init__(widths, repeats if stage_repeats is None else stage_repeats, **kwargs)

    def _make_part(self, name: str, in_channels: int, out_channels: int) -> tuple[nn.Module, int]:
        if name == "conv1":
            stem, stride = nn.Sequential(), 2
            for channels in (*(STEM_BEFORE_164 if self._depth == 164 else ()), out_channels):
                stem.extend(self._conv_norm_act(in_channels, channels, 3, stride))
                in_channels, stride = channels, 1
            return stem, 2
        if name == "conv5":
            return self._conv_norm_act(in_channels, out_channels, 1), 1
        stride = 1 if name == "stage1" else 2
        branch1_channels = in_channels if self.layout in SPLIT_24 else out_channels // 2
        return self._make_stage(
            ShuffleUnitV2,
            name,
            in_channels,
            out_channels,
            stride,
            first={"branch1_channels": branch1_channels},
            branch1_channels=0,
            **self._unit_options,
        ), stride

    def _make_maxpool(self) -> tuple[nn.Module, int]:
        if self.layout == "pytorchcv":
            return nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True), 2
        return super()._make_maxpool()
