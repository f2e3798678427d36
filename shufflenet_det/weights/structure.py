"""A network as a sequence of convolutions, and where that sequence stands in a state_dict.

Every implementation of a network has the same convolutions in the same order, whatever it calls
them. Only the branches of a unit, and stem and conv5, may stand elsewhere.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations, takewhile
from typing import Any

from torch import Tensor, nn

Tensors = dict[str, Tensor]
Shape = tuple[int, ...]

NORM = ("weight", "bias", "running_mean", "running_var")
_LEAVES = {"_mean": "running_mean", "_variance": "running_var"}  # PaddlePaddle's names


@dataclass
class Conv:
    """A convolution of a file, and the normalisation behind it.

    Attributes:
        name: Of its module in the file.
        weight: (out, in / groups, k, k).
        bias: (out), or None.
        norm: Tensors of the normalisation by PyTorch's names; empty: there is none.
        keys: The names of all these tensors in the file.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    norm: Tensors = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    @property
    def shape(self) -> Shape:
        """Of the weight."""
        return tuple(self.weight.shape)


@dataclass(frozen=True)
class Slot:
    """A convolution of a network here: module names of it and its normalisation, and its shape."""

    conv: str
    norm: str
    shape: Shape


Chain = tuple[Slot, ...]  # convolutions that follow one another
Unit = tuple[Chain, ...]  # the branches of a unit


@dataclass(frozen=True)
class Plan:
    """The convolutions of a network.

    Attributes:
        stem: The first one.
        stages: The units of each stage.
        conv5: The one behind the last stage, of which only the input's width is given; or None.
    """

    stem: Slot
    stages: tuple[tuple[Unit, ...], ...]
    conv5: Slot | None

    @property
    def units(self) -> list[Unit]:
        """Of all stages."""
        return [unit for stage in self.stages for unit in stage]

    def __len__(self) -> int:
        return 1 + sum(len(chain) for unit in self.units for chain in unit)

    def without(self, chain: int) -> "Plan":
        """The same without one branch of each unit, where a unit has so many."""
        return Plan(
            self.stem,
            tuple(
                tuple(tuple(c for i, c in enumerate(unit) if i != chain) for unit in stage)
                for stage in self.stages
            ),
            self.conv5,
        )


def plan_of(network: Any) -> Plan | None:
    """The convolutions of a backbone, squeeze-and-excitation and offsets aside.

    Args:
        network: A :class:`~shufflenet_det.backbones.base.LevelBackbone` up to its last stage.

    Returns:
        Its sequence; None: its stem has several convolutions.
    """

    def chain(name: str, module: nn.Module) -> Chain:
        layers = [(f"{name}.{key}", child) for key, child in module.named_children()]
        slots = []
        for (key, layer), (after, norm) in zip(layers, [*layers[1:], ("", None)], strict=False):
            weight = getattr(layer, "weight", None)
            if weight is not None and weight.ndim == 4:
                of_norm = getattr(norm, "weight", None)
                has_norm = of_norm is not None and of_norm.ndim == 1
                slots.append(Slot(key, after if has_norm else "", tuple(weight.shape)))
        return tuple(slots)

    def unit(name: str, module: nn.Module) -> Unit:
        chains = (chain(f"{name}.{key}", child) for key, child in module.named_children())
        return tuple(filter(None, chains))

    stem, stages = chain("conv1", network.conv1), []
    for name, part in network.named_children():
        if name.startswith("stage"):
            stages.append(tuple(unit(f"{name}.{key}", u) for key, u in part.named_children()))
    if len(stem) != 1 or not stages:
        return None
    width = network.out_channels[-1]
    conv5 = "conv5" in (*network.unbuilt_parts, *dict(network.named_children()))
    return Plan(
        stem[0],
        tuple(stages),
        Slot("conv5.0", "conv5.1", (0, width, 1, 1)) if conv5 else None,
    )


def convolutions(tensors: Mapping[str, Tensor]) -> list[Conv]:
    """Group tensors into convolutions, in the file's order, each with its normalisation."""
    modules: dict[str, dict[str, str]] = {}
    for key in tensors:
        module, _, leaf = key.rpartition(".")
        modules.setdefault(module, {})[_LEAVES.get(leaf, leaf)] = key
    convs, norms = [], []
    for module, keys in modules.items():
        found = {leaf: tensors[key] for leaf, key in keys.items()}
        weight = found.get("weight")
        if weight is not None and weight.ndim == 4:
            convs.append(Conv(module, weight, found.get("bias"), keys=list(keys.values())))
        elif all(tensor.ndim <= 1 for tensor in found.values()) and found.keys() & set(NORM):
            norms.append((module, found, list(keys.values())))
    order = {name: i for i, name in enumerate(_by_numbers([c.name for c in convs]))}
    rank = {name: i for i, name in enumerate(_by_numbers([name for name, *_ in norms]))}
    free = sorted(convs, key=lambda conv: order[conv.name])
    norms.sort(key=lambda norm: rank[norm[0]])
    for in_one_module in (True, False):  # a normalisation stands beside its convolution, or near
        waiting, norms = norms, []
        by_size: dict[tuple[str, int], list[Conv]] = {}
        for conv in free:
            place = _parent(conv.name, 1 if in_one_module else 2)
            by_size.setdefault((place, conv.shape[0]), []).append(conv)
        for name, found, own in waiting:
            size = next(t.numel() for leaf, t in found.items() if leaf in NORM)
            candidates = by_size.get((_parent(name, 1 if in_one_module else 2), size))
            if candidates:
                conv = candidates.pop(0)
                conv.norm, conv.keys = found, conv.keys + own
                free.remove(conv)
            else:
                norms.append((name, found, own))
    return convs


def _parent(name: str, levels: int) -> str:
    return ".".join(name.split(".")[:-levels])


def _by_numbers(names: Sequence[str]) -> list[str]:
    """Names in the order of the numbers in them; where words differ, as they come."""
    ranks: dict[str, dict[str, int]] = {}

    def key(name: str) -> list[tuple[int, int]]:
        parts, found = name.split("."), []
        for i, part in enumerate(parts):
            word, number = re.fullmatch(r"(.*?)(\d{0,9})", part, re.DOTALL).groups()  # type: ignore
            rank = ranks.setdefault(".".join(parts[:i]), {})
            found.append((rank.setdefault(word, len(rank)), int(number or -1)))
        return found

    keys = {name: key(name) for name in names}
    return sorted(names, key=keys.__getitem__)


@dataclass(frozen=True)
class Match:
    """Where a network's convolutions are in a file.

    Attributes:
        place: How all their names begin; '' or without its last dot.
        convs: The file's convolution for each module here.
        slots: The modules here, by the same keys.
        containers: How the names of each stage begin.
    """

    place: str
    convs: dict[str, Conv]
    slots: dict[str, Slot]
    containers: tuple[str, ...]


@dataclass
class Closest:
    """How far the best attempt came: convolutions that fit, and the next one here and there."""

    fits: int = -1
    slot: Slot | None = None
    conv: Conv | None = None


def find(sequence: Plan, convs: Sequence[Conv], closest: Closest) -> list[Match]:
    """Find a network's convolutions among a file's.

    Args:
        sequence: The network's.
        convs: The file's, in its order.
        closest: Is updated where an attempt comes further than those before.

    Returns:
        A match for each place where all of them are.
    """
    by_name = {conv.name: conv for conv in convs}
    numbered = [by_name[name] for name in _by_numbers(list(by_name))]
    for order in (numbered, list(convs)):
        matches = [m for m in (_at(sequence, order, i, closest) for i in range(len(order))) if m]
        if matches:
            return matches
    return []


def _at(sequence: Plan, convs: Sequence[Conv], start: int, closest: Closest) -> Match | None:
    found: dict[str, Conv] = {}
    slots: dict[str, Slot] = {}
    containers, position = [], start
    for stage in sequence.stages:
        begin = position
        for unit in stage:
            window = convs[position : position + sum(map(len, unit))]
            shapes = [conv.shape for conv in window]
            for order in permutations(unit):
                row = [slot for chain in order for slot in chain]
                if [slot.shape for slot in row] == shapes:
                    break
            else:
                _note(closest, len(found), unit, window)
                return None
            for slot, conv in zip(row, window, strict=True):
                found[slot.conv], slots[slot.conv] = conv, slot
            position += len(window)
        containers.append(_place([conv.name for conv in convs[begin:position]]))
    names = [conv.name for conv in convs[start:position]]
    inner = _place(names)
    stems = [conv for conv in convs if conv.shape == sequence.stem.shape]
    if not stems:
        _note(closest, len(found), ((sequence.stem,),), [])
        return None
    stem = max(stems, key=lambda conv: len(_place([conv.name, f"{inner}.x"])))
    found[sequence.stem.conv], slots[sequence.stem.conv] = stem, sequence.stem
    place = _place([stem.name, *names])
    if sequence.conv5:
        width = sequence.conv5.shape[1]
        last = [
            conv
            for conv in convs
            if conv not in found.values()
            and conv.shape[1:] == (width, 1, 1)
            and conv.shape[0] >= width
            and conv.name.startswith(f"{place}." if place else "")
        ]
        if len(last) == 1:
            found["conv5.0"], slots["conv5.0"] = last[0], sequence.conv5
    return Match(place, found, slots, tuple(containers))


def _note(closest: Closest, fits: int, unit: Unit, window: Sequence[Conv]) -> None:
    if fits > closest.fits:
        row = [slot for chain in unit for slot in chain]
        shapes = [conv.shape for conv in window]
        n = next((i for i, s in enumerate(row) if shapes[i : i + 1] != [s.shape]), 0)
        closest.fits, closest.slot = fits + n, row[n]
        closest.conv = window[n] if n < len(window) else None


def _place(names: Sequence[str]) -> str:
    """The modules that all names lie in."""
    columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return ".".join(column[0] for column in takewhile(lambda c: len(set(c)) == 1, columns))


def read(match: Match) -> tuple[Tensors, bool, bool]:
    """A match's tensors by this package's names.

    The bias of a convolution moves into the BatchNorm behind it. Where BatchNorm is folded into
    the convolutions, one is made that adds the bias and nothing else: exact with running
    statistics and ``eps`` of 1e-5.

    Returns:
        The tensors, whether BatchNorm was folded everywhere, and whether it was only missing
        behind the stem.
    """
    slots = match.slots
    bare = {key for key, conv in match.convs.items() if conv.bias is not None and not conv.norm}
    wanted = {key for key, slot in slots.items() if slot.norm}
    folded, bare_stem = wanted <= bare, bare == {"conv1.0"}
    tensors: Tensors = {}
    for key, conv in match.convs.items():
        norm = dict(conv.norm)
        if key in bare and (folded or bare_stem):
            norm = identity_norm(conv.bias)
        elif conv.bias is not None and "running_mean" in norm:
            norm["running_mean"] = norm["running_mean"] - conv.bias
        elif conv.bias is not None:
            tensors[f"{key}.bias"] = conv.bias
        tensors[f"{key}.weight"] = conv.weight
        target = slots[key].norm or f"{key}.norm"
        tensors |= {f"{target}.{leaf}": tensor for leaf, tensor in norm.items()}
    return tensors, folded, bare_stem


EPS = 1e-5  # of BatchNorm in every source


def identity_norm(bias: Tensor | None) -> Tensors:
    """A BatchNorm of ``eps`` 1e-5 that adds a bias (C) and nothing else."""
    assert bias is not None
    return {
        "weight": (1 + EPS + bias.double() * 0).sqrt().to(bias.dtype),
        "bias": bias,
        "running_mean": bias * 0,
        "running_var": bias * 0 + 1,
    }


def order_is_a_guess(match: Match, names: Sequence[str]) -> bool:
    """Whether nothing but the alphabet puts equal convolutions of a branch in order."""
    if list(names) != sorted(names):
        return False
    for a, b in combinations(match.slots.values(), 2):
        if a.shape == b.shape and a.conv.rpartition(".")[0] == b.conv.rpartition(".")[0]:
            parts = zip(*(match.convs[s.conv].name.split(".") for s in (a, b)), strict=False)
            first = next((pair for pair in parts if pair[0] != pair[1]), ("", ""))
            if first[0].rstrip("0123456789") != first[1].rstrip("0123456789"):
                return True
    return False


def left_over(match: Match, names: Sequence[str]) -> list[str]:
    """Names within a match's stages that belong to no convolution of it."""
    used = {key for conv in match.convs.values() for key in conv.keys}
    inside = tuple(f"{container}." for container in match.containers if container)
    return [n for n in names if n.startswith(inside) and n not in used]
