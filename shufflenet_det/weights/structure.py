"""A network as a sequence of convolutions, and where that sequence stands in a state_dict.

Every implementation of a network has the same convolutions in the same order, whatever it calls
them. Only the branches of a unit, and stem and conv5, may stand elsewhere.
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
_AVERAGED = {"avg_model", "ema", "model_ema", "ema_model"}  # words in a prefix
_LEAVES = {"_mean": "running_mean", "_variance": "running_var"}  # PaddlePaddle's names


class Slot(NamedTuple):
    """A convolution of a network here: names of it and its normalisation, and its shape."""

    conv: str
    norm: str
    shape: tuple[int, ...]


Chain = tuple[Slot, ...]  # convolutions that follow one another
Unit = tuple[Chain, ...]  # the branches of a unit


@dataclass(frozen=True)
class Plan:
    """The convolutions of a network."""

    stem: Slot
    stages: tuple[tuple[Unit, ...], ...]
    conv5: Slot | None  # behind the last stage; of its shape only the input's width is given

    def without(self, chain: int) -> "Plan":
        """The same without one branch of each unit, where a unit has so many."""
        return replace(
            self,
            stages=tuple(
                tuple((*unit[:chain], *unit[chain + 1 :]) for unit in stage)
                for stage in self.stages
            ),
        )


def plan_of(network: Any) -> Plan | None:
    """The convolutions of a backbone up to its last stage, squeeze-and-excitation aside.

    None if its stem has several convolutions.
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
    """A convolution of a file, and the normalisation behind it."""

    name: str  # of its module in the file
    weight: Tensor  # (out, in / groups, k, k)
    bias: Tensor | None  # (out)
    keys: list[str]  # names in the file, the normalisation's too
    norm: Tensors = field(default_factory=dict)  # by PyTorch's names


def convolutions(tensors: Mapping[str, Tensor]) -> list[Conv]:
    """Group tensors into convolutions, in the file's order, each with its normalisation."""
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
    free, waiting = _by_numbers(convs), _by_numbers(norms)
    for levels in (1, 2):  # a normalisation stands in its convolution's module, or in one beside
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


def _by_numbers(names: Mapping[str, Any]) -> list[str]:
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
    """Where a network's convolutions are in a file."""

    place: str  # how all their names begin; '' or without its last dot
    convs: dict[Slot, Conv]
    containers: tuple[str, ...]  # how the names of each stage begin


class Miss(NamedTuple):
    """How far an attempt came: convolutions that fit, and the next one here and there."""

    fits: int = -1
    slot: Slot | None = None
    conv: Conv | None = None


def find(plan: Plan, convs: Sequence[Conv]) -> tuple[list[Match], Miss]:
    """Matches for each place where all of a network's convolutions are, or the closest attempt."""
    by_name = {conv.name: conv for conv in convs}
    closest = Miss()
    for order in ([by_name[name] for name in _by_numbers(by_name)], convs):
        attempts = [_at(plan, order, i) for i in range(len(order))]
        matches = [attempt for attempt in attempts if isinstance(attempt, Match)]
        if matches:
            return matches, closest
        misses = (attempt for attempt in attempts if isinstance(attempt, Miss))
        closest = max([closest, *misses], key=lambda miss: miss.fits)
    return [], closest


def _at(plan: Plan, convs: Sequence[Conv], start: int) -> Match | Miss:
    """Compare the units with the convolutions from one on, then look for stem and conv5."""
    found: dict[Slot, Conv] = {}
    containers, position = [], start
    for stage in plan.stages:
        begin = position
        for unit in stage:
            window = convs[position : position + sum(map(len, unit))]
            shapes = [conv.weight.shape for conv in window]
            rows = ([slot for chain in order for slot in chain] for order in permutations(unit))
            row = next((row for row in rows if [slot.shape for slot in row] == shapes), None)
            if row is None:
                row = [slot for chain in unit for slot in chain]
                pairs = list(zip_longest(row, window))
                fits = [c is not None and c.weight.shape == slot.shape for slot, c in pairs]
                return Miss(len(found) + fits.index(False), *pairs[fits.index(False)])
            found |= zip(row, window, strict=True)
            position += len(window)
        containers.append(_place([conv.name for conv in convs[begin:position]]))
    names = [conv.name for conv in convs[start:position]]
    inner = _place(names)
    stems = [conv for conv in convs if conv.weight.shape == plan.stem.shape]
    if not stems:
        return Miss(len(found), plan.stem)
    stem = max(stems, key=lambda conv: len(_place([conv.name, f"{inner}.x"])))
    found[plan.stem] = stem
    place = _place([stem.name, *names])
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


def averaged(places: list[str]) -> list[str]:
    """Of several places in a file those of averaged weights, if there are any."""
    found = [place for place in places if _AVERAGED.intersection(place.split("."))]
    return found if len(places) > 1 and found else places


def _place(names: Sequence[str]) -> str:
    """The modules that all names lie in."""
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
    """A BatchNorm that adds a bias (C) and nothing else."""
    return {
        "weight": torch.full_like(bias, 1 + eps, dtype=torch.double).sqrt().to(bias.dtype),
        "bias": bias,
        "running_mean": torch.zeros_like(bias),
        "running_var": torch.ones_like(bias),
    }


def _order_is_a_guess(match: Match, names: Sequence[str]) -> bool:
    """Whether nothing but the alphabet puts equal convolutions of a branch in order."""
    if list(names) != sorted(names):
        return False
    for a, b in combinations(match.convs, 2):
        if a.shape == b.shape and _parent(a.conv, 1) == _parent(b.conv, 1):
            parts = zip(*(match.convs[slot].name.split(".") for slot in (a, b)), strict=False)
            first = next((pair for pair in parts if pair[0] != pair[1]), ("", ""))
            if first[0].rstrip("0123456789") != first[1].rstrip("0123456789"):
                return True
    return False
