"""Find the convolutions of a network in a state_dict by their shapes and their order.

Every implementation of a network has the same convolutions in the same order, under any names. Only
the order of a unit's branches, and the places of stem and conv5, may differ.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations, takewhile, zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]

EPS = 1e-5  # of BatchNorm in every source
NORM = ("weight", "bias", "running_mean", "running_var")
_AVERAGED = {"avg_model", "ema", "model_ema", "ema_model"}  # prefixes of averaged weights
_LEAVES = {"_mean": "running_mean", "_variance": "running_var"}  # PaddlePaddle's names


class Slot(NamedTuple):
    """A convolution of a network of this package."""

    conv: str  # its name
    norm: str  # the name of its normalisation; '' if it has none
    shape: tuple[int, ...]


Chain = tuple[Slot, ...]  # consecutive convolutions
Unit = tuple[Chain, ...]  # the branches of a unit


@dataclass(frozen=True)
class Plan:
    """The convolutions of a network."""

    stem: Slot
    stages: tuple[tuple[Unit, ...], ...]
    conv5: Slot | None  # after the last stage; its shape has 0 for the output channels

    def without(self, chain: int) -> "Plan":
        """The same network without one branch, counted from 0, of each unit."""
        return replace(
            self,
            stages=tuple(
                tuple((*unit[:chain], *unit[chain + 1 :]) for unit in stage)
                for stage in self.stages
            ),
        )


def plan_of(network: Any) -> Plan | None:
    """List the convolutions of a backbone up to its last stage, without squeeze-and-excitation.

    None if the stem has several convolutions.
    """

    def chain(name: str, module: nn.Module) -> Chain:
        slots: list[Slot] = []
        for key, layer in module.named_children():
            weight = getattr(layer, "weight", None)
            if weight is None:
                continue
            if weight.ndim == 4:
                slots.append(Slot(f"{name}.{key}", "", tuple(weight.shape)))
            elif weight.ndim == 1 and slots and not slots[-1].norm:
                slots[-1] = slots[-1]._replace(norm=f"{name}.{key}")
        return tuple(slots)

    def unit(name: str, module: nn.Module) -> Unit:
        chains = (chain(f"{name}.{key}", child) for key, child in module.named_children())
        return tuple(filter(None, chains))

    parts = dict(network.named_children())
    stem = chain("conv1", parts["conv1"])
    stages = tuple(
        tuple(unit(f"{name}.{key}", child) for key, child in part.named_children())
        for name, part in parts.items()
        if name.startswith("stage")
    )
    if len(stem) != 1 or not stages:
        return None
    conv5 = None
    if "conv5" in (*network.unbuilt_parts, *parts):
        conv5 = Slot("conv5.0", "conv5.1", (0, network.out_channels[-1], 1, 1))
    return Plan(stem[0], stages, conv5)


@dataclass
class Conv:
    """A convolution in a file, and the normalisation after it."""

    name: str  # of its module in the file
    weight: Tensor  # (out, in / groups, k, k)
    bias: Tensor | None  # (out)
    keys: list[str]  # names of all its tensors in the file, also of the normalisation
    norm: Tensors = field(default_factory=dict)  # by PyTorch's names


def convolutions(tensors: Mapping[str, Tensor]) -> list[Conv]:
    """Group the tensors of a file into convolutions with their normalisations, in its order."""
    modules: dict[str, dict[str, str]] = {}
    for key in tensors:
        module, _, leaf = key.rpartition(".")
        modules.setdefault(module, {})[_LEAVES.get(leaf, leaf)] = key
    convs, norms = {}, {}
    for module, keys in modules.items():
        found = {leaf: tensors[key] for leaf, key in keys.items()}
        weight = found.get("weight")
        if weight is not None and weight.ndim == 4:
            convs[module] = Conv(module, weight, found.get("bias"), [*keys.values()])
        elif all(tensor.ndim <= 1 for tensor in found.values()) and found.keys() & set(NORM):
            norms[module] = found
    free, waiting = _sorted_by_numbers(convs), _sorted_by_numbers(norms)
    for levels in (1, 2):  # a normalisation is a sibling of its convolution, or of its module
        places: dict[tuple[str, int], list[str]] = {}
        for name in free:
            place = _parent(name, levels), len(convs[name].weight)
            places.setdefault(place, []).append(name)
        for name in list(waiting):
            size = next(t.numel() for leaf, t in norms[name].items() if leaf in NORM)
            candidates = places.get((_parent(name, levels), size))
            if candidates:
                conv = convs[candidates.pop(0)]
                conv.norm = norms[name]
                conv.keys += modules[name].values()
                free.remove(conv.name)
                waiting.remove(name)
    return list(convs.values())


def _parent(name: str, levels: int) -> str:
    return ".".join(name.split(".")[:-levels])


def _sorted_by_numbers(names: Mapping[str, Any]) -> list[str]:
    """Sort names by the numbers in them; different words keep the order of their first use."""
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
    """The convolutions of a network in a file."""

    place: str  # the module that contains them all; '' is the root
    convs: dict[Slot, Conv]
    containers: tuple[str, ...]  # the module that contains each stage


class Miss(NamedTuple):
    """A failed attempt to match."""

    fits: int = -1  # convolutions that fit
    slot: Slot | None = None  # the first one of the network that does not
    conv: Conv | None = None  # the one in its place in the file


def find(plan: Plan, convs: Sequence[Conv]) -> tuple[list[Match], Miss]:
    """Find every match of a network in a file; also returns the closest failed attempt."""
    by_name = {conv.name: conv for conv in convs}
    closest = Miss()
    for order in ([by_name[name] for name in _sorted_by_numbers(by_name)], convs):
        attempts = [_match_at(plan, order, i) for i in range(len(order))]
        matches = [attempt for attempt in attempts if isinstance(attempt, Match)]
        if matches:
            return matches, closest
        misses = (attempt for attempt in attempts if isinstance(attempt, Miss))
        closest = max([closest, *misses], key=lambda miss: miss.fits)
    return [], closest


def _match_at(plan: Plan, convs: Sequence[Conv], start: int) -> Match | Miss:
    """Compare the units with the convolutions from ``start`` on, then find stem and conv5."""
    found: dict[Slot, Conv] = {}
    containers, position = [], start
    for stage in plan.stages:
        begin = position
        for unit in stage:
            window = convs[position : position + sum(map(len, unit))]
            slots = _slots_in_order(unit, window)
            for slot, conv in zip_longest(slots, window):
                if conv is None or conv.weight.shape != slot.shape:
                    return Miss(len(found), slot, conv)
                found[slot] = conv
            position += len(window)
        containers.append(_common_module([conv.name for conv in convs[begin:position]]))
    names = [conv.name for conv in convs[start:position]]
    inner = _common_module(names)
    stems = [conv for conv in convs if conv.weight.shape == plan.stem.shape]
    if not stems:
        return Miss(len(found), plan.stem)
    stem = max(stems, key=lambda conv: len(_common_module([conv.name, f"{inner}.x"])))  # nearest
    found[plan.stem] = stem
    place = _common_module([stem.name, *names])
    if plan.conv5:
        width, used = plan.conv5.shape[1], {conv.name for conv in found.values()}
        last = [
            conv
            for conv in convs
            if conv.name not in used
            and conv.weight.shape[1:] == (width, 1, 1)
            and len(conv.weight) >= width
            and conv.name.startswith(f"{place}." if place else "")
        ]
        if len(last) == 1:
            found[plan.conv5] = last[0]
    return Match(place, found, tuple(containers))


def _slots_in_order(unit: Unit, window: Sequence[Conv]) -> list[Slot]:
    """The convolutions of a unit, its branches in the file's order if one order fits."""
    orders = [[slot for chain in chains for slot in chain] for chains in permutations(unit)]
    shapes = [conv.weight.shape for conv in window]
    return next((order for order in orders if [s.shape for s in order] == shapes), orders[0])


def averaged(places: list[str]) -> list[str]:
    """Of several places in a file, those with averaged weights; all if none has."""
    found = [place for place in places if _AVERAGED.intersection(place.split("."))]
    return found if len(places) > 1 and found else places


def _common_module(names: Sequence[str]) -> str:
    """The innermost module that contains all names."""
    columns = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return ".".join(column[0] for column in takewhile(lambda c: len(set(c)) == 1, columns))


@dataclass
class Found:
    """The tensors of a network in a file, by this package's names."""

    tensors: Tensors
    folded: bool = False  # BatchNorm is folded into every convolution
    bare_stem: bool = False  # the stem, and nothing else, has a bias instead of BatchNorm
    left_over: Sequence[str] = ()  # names within the stages that belong to no convolution
    order_is_a_guess: bool = False  # only the alphabet gives the order of convolutions


def read(match: Match, names: Sequence[str]) -> Found:
    """Read the tensors of a match in a file with these ``names``.

    The bias of a convolution moves into the BatchNorm after it. If BatchNorm is folded into the
    convolutions, a new one adds the bias and does nothing else: in evaluation this is exact.
    """
    bare = {s.conv for s, conv in match.convs.items() if conv.bias is not None and not conv.norm}
    folded = bare >= {slot.conv for slot in match.convs if slot.norm}
    bare_stem = bare == {"conv1.0"}
    tensors: Tensors = {}
    for slot, conv in match.convs.items():
        norm = dict(conv.norm)
        if conv.bias is not None and slot.conv in bare and (folded or bare_stem):
            norm = identity_norm(conv.bias)
        elif conv.bias is not None and "running_mean" in norm:
            norm["running_mean"] = norm["running_mean"] - conv.bias
        elif conv.bias is not None:
            tensors[f"{slot.conv}.bias"] = conv.bias
        tensors[f"{slot.conv}.weight"] = conv.weight
        target = slot.norm or f"{slot.conv}.norm"
        tensors |= {f"{target}.{leaf}": tensor for leaf, tensor in norm.items()}
    used = {key for conv in match.convs.values() for key in conv.keys}
    inside = tuple(f"{container}." for container in match.containers if container)
    left_over = [name for name in names if name.startswith(inside) and name not in used]
    return Found(tensors, folded, bare_stem, left_over, _order_is_a_guess(match, names))


def identity_norm(bias: Tensor, eps: float = EPS) -> Tensors:
    """The tensors of a BatchNorm that adds a bias (C) and does nothing else."""
    return {
        "weight": torch.full_like(bias, 1 + eps, dtype=torch.double).sqrt().to(bias.dtype),
        "bias": bias,
        "running_mean": torch.zeros_like(bias),
        "running_var": torch.ones_like(bias),
    }


def _order_is_a_guess(match: Match, names: Sequence[str]) -> bool:
    """Whether only the alphabet orders convolutions of equal shape in a branch."""
    if list(names) != sorted(names):
        return False
    for a, b in combinations(match.convs, 2):
        if a.shape == b.shape and _parent(a.conv, 1) == _parent(b.conv, 1):
            parts = zip(*(match.convs[slot].name.split(".") for slot in (a, b)), strict=False)
            first = next((pair for pair in parts if pair[0] != pair[1]), ("", ""))
            if first[0].rstrip("0123456789") != first[1].rstrip("0123456789"):
                return True
    return False
