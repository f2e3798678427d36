"""Which network a set of tensors is, read from their shapes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..backbones import (
    MobileNetV1,
    ShuffleNetV1,
    ShuffleNetV2,
    Xception,
    mobilenet_v1,
    shufflenet_v1,
    shufflenet_v2,
    xception,
)
from ..backbones.base import LevelBackbone

CLASSES: dict[str, type[LevelBackbone]] = {
    network.__name__: network for network in (ShuffleNetV1, ShuffleNetV2, MobileNetV1, Xception)
}
# The convolution that makes a unit's channels, where all units have it.
_LAST_CONVS = {"MobileNetV1": "pointwise.0", "Xception": "branch.9"}
# The arguments that no shape shows, and what is meant where one is absent.
UNSEEN = {name: network.UNSEEN for name, network in CLASSES.items()}


@dataclass(frozen=True)
class Row:
    """One row of a class's widths: the arguments that choose it, and what they choose."""

    arguments: Mapping[str, Any]
    stem: int
    widths: tuple[int, ...]
    usual: Mapping[str, Any]
    conv5: int | None = None


@dataclass(frozen=True)
class Network:
    """The shape of a network; None where tensors to tell it are missing.

    Attributes:
        name: Of its class.
        stem: Channels of the stem.
        widths: Channels of stages 2, 3, 4.
        groups: V1: groups of the pointwise convolutions.
        split: V2: channels that the first unit of stage 2 makes in its first branch.
        conv5: V2: channels of conv5.
        options: Other arguments of the class that shapes show, as far as they do.
    """

    name: str
    stem: int | None
    widths: tuple[int | None, ...]
    options: Mapping[str, Any]
    groups: int | None = None
    split: int | None = None
    conv5: int | None = None

    def arguments(self) -> dict[str, Any] | None:
        """The arguments of the class that give this shape; None: there are none."""
        if None in (self.stem, self.widths[0]):
            return None
        row = next(filter(self._fits, _rows(self.name)), None)
        if row is None:
            return None
        arguments = dict(row.arguments)
        if self.stem != row.stem:
            if self.name != "ShuffleNetV1":
                return None
            arguments["stem_channels"] = self.stem
        if self.conv5 not in (None, row.conv5):
            arguments["conv5_channels"] = self.conv5
        arguments |= {k: v for k, v in self.options.items() if v != row.usual.get(k)}
        return arguments

    def _fits(self, row: Row) -> bool:
        if self.groups != row.arguments.get("groups", self.groups):
            return False
        return all(mine in (None, its) for mine, its in zip(self.widths, row.widths, strict=True))

    def __str__(self) -> str:
        """Such as 'g=3 1.0x', or the widths where no factor fits."""
        found = self.arguments()
        groups = f"g={self.groups} " if self.groups else ""
        if found is None:
            return f"{groups}of {self.stem} channels in the stem and {self.widths} in the stages"
        if "depth" in found:
            return f"of depth {found['depth']}"
        return f"{groups}{found['widen_factor']}x"

    @property
    def splits_in_halves(self) -> bool:
        """V2: whether the first unit of stage 2 makes as many channels in both branches."""
        return self.split is not None and self.widths[0] == 2 * self.split


def measure(name: str, tensors: Mapping[str, Tensor]) -> Network:
    """Read a network's shape.

    Args:
        name: Of its class.
        tensors: By this package's names; more or fewer than the network's own are no error.

    Returns:
        What can be told from them.
    """

    def size(key: str, axis: int) -> int | None:
        found = tensors.get(key)
        return found.shape[axis] if found is not None and found.ndim > axis else None

    stem = size("conv1.6.weight", 0) or size("conv1.0.weight", 0)
    options: dict[str, Any] = {}
    parts = {tuple(key.split(".")[:2]) for key in tensors}
    counts = [sum(part[0] == f"stage{s}" for part in parts) for s in (1, 2, 3, 4)]
    if all(counts[1:]):
        options["stage_repeats"] = tuple(filter(None, counts))
    if name == "ShuffleNetV2":
        halves = [size(f"stage{s}.1.branch2.0.weight", 1) for s in (2, 3, 4)]
        widths = tuple(half and 2 * half for half in halves)
        squeezed = size("stage2.0.branch2.7.fc1.weight", 0)
        if "stage2.0.extra_depthwise.0.weight" in tensors:
            options["extra_depthwise"] = True
    elif name in _LAST_CONVS:
        widths = tuple(size(f"stage{s}.1.{_LAST_CONVS[name]}.weight", 0) for s in (2, 3, 4))
        squeezed = None
    else:
        widths = tuple(size(f"stage{s}.1.expand.0.weight", 0) for s in (2, 3, 4))
        squeezed = size("stage2.0.expand.2.fc1.weight", 0)
        mid = size("stage2.1.depthwise.0.weight", 0)
        if mid and widths[0]:
            options["bottleneck_ratio"] = widths[0] // mid
    if squeezed and widths[0]:
        options["se_reduction"] = widths[0] // squeezed
    group = size("stage2.1.compress.0.weight", 1)
    return Network(
        name,
        stem,
        widths,
        options,
        groups=widths[0] // group if widths[0] and group else None,
        split=size("stage2.0.branch1.2.weight", 0),
        conv5=size("conv5.0.weight", 0),
    )


def _rows(name: str) -> Iterator[Row]:
    if name == "ShuffleNetV1":
        v1 = shufflenet_v1
        usual = {"stage_repeats": v1.REPEATS, "bottleneck_ratio": v1.BOTTLENECK}
        for (groups, factor), (stem, *widths) in v1.WIDTHS.items():
            yield Row({"groups": groups, "widen_factor": factor}, stem, tuple(widths), usual)
        stem, _, *widths = v1.WIDTHS_50
        usual = {"stage_repeats": v1.REPEATS_50, "bottleneck_ratio": v1.BOTTLENECK_50}
        yield Row({"groups": 3, "depth": 50}, stem, tuple(widths), usual)
    elif name == "MobileNetV1":
        mobilenet = mobilenet_v1
        usual = {"stage_repeats": (1 + mobilenet.REPEATS[0], *mobilenet.REPEATS[1:])}
        for factor, (stem, _, _, *widths) in mobilenet.WIDTHS.items():
            yield Row({"widen_factor": factor}, stem, tuple(widths), usual)
    elif name == "Xception":
        usual = {"stage_repeats": xception.REPEATS}
        for factor, (stem, *widths) in xception.WIDTHS.items():
            yield Row({"widen_factor": factor}, stem, tuple(widths), usual)
    else:
        v2 = shufflenet_v2
        usual = {"stage_repeats": v2.REPEATS}
        for factor, (stem, *widths, conv5) in v2.WIDTHS.items():
            yield Row({"widen_factor": factor}, stem, tuple(widths), usual, conv5)
        for depth, (stem, _, *widths, conv5) in v2.WIDTHS_DEEP.items():
            usual = {"stage_repeats": v2.REPEATS_DEEP[depth]}
            yield Row({"depth": depth}, stem, tuple(widths), usual, conv5)
