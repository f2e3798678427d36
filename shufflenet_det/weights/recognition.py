"""Recognise the network in a checkpoint, and give its tensors this package's names."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from ..backbones.base import NETWORKS, LevelBackbone
from .convert import NoConversionError, reverse, shuffle_v1
from .files import Checkpoint
from .images import Images, images_by_statistics, stated_images
from .records import IMAGES, SOURCES, Source
from .structure import (
    NORM,
    Found,
    Miss,
    Plan,
    Tensors,
    averaged,
    convolutions,
    find,
    plan_of,
    read,
)

_FEWEST = 20  # every network here has more convolutions
# Arguments that no tensor of other code shows.
_LAYER_ARGUMENTS = ("act_cfg", "norm_cfg", "conv_cfg")


class NoBackboneError(ValueError):
    """A checkpoint contains no network of this package."""


@dataclass(frozen=True)
class Weights:
    """The tensors of one backbone, by this package's names."""

    name: str  # of the checkpoint, as the caller gave it
    source: Source  # the code that trained these weights
    network: str  # the class that has these tensors
    arguments: Mapping[str, Any]  # build a network with these shapes
    computes: Mapping[str, Any]  # those of ``network.UNSEEN``, as far as the checkpoint shows them
    tensors: Tensors
    # ``weight`` (classes, channels) and ``bias`` (classes) of the linear layer after the global
    # pooling, as far as the checkpoint has them.
    classifier: Tensors
    images: Images | None  # the preprocessing in training; None: unknown
    left_over: Sequence[str] = ()  # tensors within the backbone that belong to no known layer
    folded: bool = False  # BatchNorm was folded into the convolutions

    @property
    def act_cfg(self) -> Mapping[str, Any] | None:
        """The activation in training; None if the checkpoint does not show it."""
        return None if self.source.weak else self.source.act_cfg

    def converted(self, keys: Iterable[str], computes: Mapping[str, Any]) -> Tensors:
        """Convert the tensors ``keys`` for a network of the same shapes.

        Args:
            keys: Names of tensors: of each unit all or none.
            computes: The network's arguments of ``UNSEEN``. They also replace those of the
                checkpoint if the checkpoint's evidence is weak.

        Raises:
            NoConversionError: No exact conversion exists.
        """
        tensors = {key: self.tensors[key] for key in keys if key in self.tensors}
        known = {k: v for k, v in self.computes.items() if not self.source.weak or k == "stem_act"}
        own = {**computes, **known}
        if own == computes and not self.source.shuffle_last:
            return tensors
        if "shuffle" not in computes:
            raise NoConversionError("channels are exchanged in another way")
        if own["stem_act"] != computes["stem_act"]:
            raise NoConversionError("one has an activation in the stem, the other has none")
        if not any(key.endswith("running_mean") for key in tensors):
            raise NoConversionError("channels can be reordered only with BatchNorm")
        return shuffle_v1(
            tensors,
            self.arguments.get("groups", 3),
            own["shuffle"],
            computes["shuffle"],
            shuffle_last=self.source.shuffle_last,
        )


def recognise(
    checkpoint: Checkpoint,
    prefix: str | None = None,
    backbone: LevelBackbone | None = None,
    *,
    partial: bool = False,
) -> Weights:
    """Find a backbone in a checkpoint and give its tensors this package's names.

    A checkpoint of this package states its network. In other checkpoints, first the tensor names
    of ``backbone`` are searched, then the convolutions of every network.

    Args:
        prefix: Search only names that start with this, or with ``module.`` and this; None: all.
        backbone: The network that is to be loaded. It is searched first.
        partial: ``backbone`` may have one branch per unit that the checkpoint lacks.

    Raises:
        NoBackboneError: The checkpoint contains no network of this package.
        ValueError: The checkpoint contains several backbones, or states a network that cannot be
            built, or does not show the order of the convolutions.
    """
    name, tensors = checkpoint.name, checkpoint.tensors
    stated = {
        place: statement
        for place, statement in checkpoint.stated.items()
        if str(statement.get("type")) in NETWORKS
    }
    place = _only_place(stated, prefix, name)
    if place is not None:
        return _stated_weights(checkpoint, place, stated[place])
    if backbone is not None:
        place = _only_place(_places_by_names(checkpoint, backbone), prefix, name)
        if place is not None:
            found = Found(_below(checkpoint, place, backbone))
            return _other_weights(checkpoint, type(backbone), backbone.arguments, found)
    convs = convolutions(tensors)
    stems = {conv.weight.shape[0] for conv in convs if conv.weight.shape[1:] == (3, 3, 3)}
    closest = Miss()
    plans = _plans(sorted(stems), backbone, partial) if len(convs) >= _FEWEST else ()
    for network, arguments, plan in plans:
        matches, miss = find(plan, convs)
        by_place = {match.place: match for match in matches}
        place = _only_place(by_place, prefix, name)
        if place is not None:
            found = read(by_place[place], list(tensors))
            return _other_weights(checkpoint, network, arguments, found)
        closest = max(closest, miss, key=lambda miss: miss.fits)
    below = "" if prefix is None else f" below {prefix!r}"
    message = (
        f"{name!r} holds no ShuffleNet{below} that this package knows; nothing was loaded. "
        f"The first of its {len(tensors)} tensors are {', '.join(list(tensors)[:3])}."
    )
    if closest.slot is not None and closest.fits > 2:
        conv = closest.conv
        there = f"{conv.name} {tuple(conv.weight.shape)}" if conv else "nothing"
        message += (
            f" Of the most similar network, the first {closest.fits} convolutions fit; instead of "
            f"{closest.slot.conv} {closest.slot.shape} the file has {there}."
        )
    raise NoBackboneError(message)


def _plans(
    stems: Sequence[int], backbone: LevelBackbone | None, partial: bool
) -> Iterator[tuple[type[LevelBackbone], Mapping[str, Any], Plan]]:
    """The networks to search, ``backbone`` first."""
    if backbone is not None:
        network, arguments = type(backbone), backbone.arguments
        plan = plan_of(built(network, arguments))
        if plan is not None:
            yield network, arguments, plan
            for chain in range(3 if partial else 0):
                yield network, arguments, plan.without(chain)
    for network in LevelBackbone.__subclasses__():
        for arguments in (build for stem in stems for build in network.builds(stem)):
            plan = _plan_of_build(network, tuple(arguments.items()))
            if plan is not None:
                yield network, arguments, plan


@cache
def _plan_of_build(network: type[LevelBackbone], arguments: tuple[Any, ...]) -> Plan | None:
    return plan_of(built(network, dict(arguments)))


def built(
    network: type[LevelBackbone], arguments: Mapping[str, Any], level: int = 3
) -> LevelBackbone:
    """Build a network up to a level, on the meta device."""
    with torch.device("meta"):
        return network(**arguments, out_indices=(level,))


def _only_place(places: Collection[str], prefix: str | None, name: str) -> str | None:
    """The only place below a prefix, or the only one there with averaged weights."""
    start = "" if prefix is None else f"{prefix.rstrip('.')}."
    found = [p for p in places if f"{p.removeprefix('module.').rstrip('.')}.".startswith(start)]
    chosen = averaged(found)
    if len(chosen) > 1:
        raise ValueError(
            f"{name!r} holds several backbones ({', '.join(repr(f'{p}.') for p in found)}): "
            "choose one with prefix=… next to checkpoint=…"
        )
    return chosen[0] if chosen else None


def _stated_weights(checkpoint: Checkpoint, place: str, statement: Mapping[str, Any]) -> Weights:
    """The weights of a checkpoint that states its network."""
    network = NETWORKS[statement["type"]]
    try:
        arguments: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in dict(statement.get("arguments") or {}).items()
        }
        backbone = built(network, arguments, level=0)
        images = stated_images(statement.get("data_preprocessor"))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{checkpoint.name!r} states a network that cannot be built: {error}"
        ) from error
    act_cfg = arguments.get("act_cfg") or {"type": "ReLU"}
    tensors = _below(checkpoint, place, backbone)
    return Weights(
        name=checkpoint.name,
        source=Source(f"this package's {_short(network)}", network.__name__, act_cfg=act_cfg),
        network=network.__name__,
        arguments=backbone.arguments,
        computes={key: getattr(backbone, key) for key in network.UNSEEN},
        tensors=tensors,
        classifier=_classifier(checkpoint.tensors, tensors, network, backbone.arguments),
        images=images,
    )


def _places_by_names(checkpoint: Checkpoint, backbone: LevelBackbone) -> list[str]:
    """The places with at least half of a network's tensors, by name and shape.

    The other half may be missing: the checkpoint may be damaged or of a related network.
    """
    tensors = checkpoint.tensors
    own = {k: v for k, v in backbone.state_dict().items() if not k.endswith("batches_tracked")}
    first = next(iter(own))
    starts = [k.removesuffix(first) for k in tensors if f".{k}".endswith(f".{first}")]

    def fitting(start: str) -> int:
        return sum(start + k in tensors and tensors[start + k].shape == own[k].shape for k in own)

    return [start.removesuffix(".") for start in starts if fitting(start) >= 0.5 * len(own)]


def _below(checkpoint: Checkpoint, place: str, backbone: LevelBackbone) -> Tensors:
    """The tensors of a backbone's parts below a place in a checkpoint."""
    start = f"{place}." if place else ""
    below = {k.removeprefix(start): v for k, v in checkpoint.tensors.items() if k.startswith(start)}
    # NanoDet has conv5 in stage 4.
    below = {re.sub(r"^stage4\.conv5\.", "conv5.", key): tensor for key, tensor in below.items()}
    parts = {*dict(backbone.named_children()), *backbone.unbuilt_parts}
    return {key: tensor for key, tensor in below.items() if key.split(".")[0] in parts}


def _other_weights(
    checkpoint: Checkpoint,
    network: type[LevelBackbone],
    arguments: Mapping[str, Any],
    found: Found,
) -> Weights:
    """The weights of a checkpoint that does not state its network: its names are the evidence."""
    source = _source_by_names(network, checkpoint.tensors)
    if source.weak and found.order_is_a_guess:
        raise ValueError(
            f"{checkpoint.name!r} has its tensors in alphabetical order, and their names do "
            "not show the order of the convolutions: save the model's state_dict as .pth"
        )
    computes = _computes(source, network, arguments)
    if not computes and source.computes:  # the source has these names, but not these shapes
        source = replace(source, weak=True, title=f"{source.title}, but for its shapes")
    if "stem_act" in network.UNSEEN and found.bare_stem:
        computes["stem_act"] = False
    tensors = found.tensors
    classifier = _classifier(checkpoint.tensors, tensors, network, arguments)
    norm = {leaf: tensors[f"conv1.1.{leaf}"] for leaf in NORM if f"conv1.1.{leaf}" in tensors}
    images = images_by_statistics(tensors["conv1.0.weight"], norm, source.images, IMAGES)
    if source.pooled_last:
        tensors = reverse(tensors)
        classifier = {k: v.flip(1) if k == "weight" else v for k, v in classifier.items()}
    return Weights(
        name=checkpoint.name,
        source=source,
        network=network.__name__,
        arguments={key: value for key, value in arguments.items() if key not in _LAYER_ARGUMENTS},
        computes=computes,
        tensors=tensors,
        classifier=classifier,
        images=images,
        left_over=found.left_over,
        folded=found.folded,
    )


def _computes(
    source: Source, network: type[LevelBackbone], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of ``UNSEEN`` that a source's network with these shapes has; {}: unknown."""
    options = network.same_shapes(arguments)
    if len(options) == 1:
        return {**network.UNSEEN, **options[0]}
    shown = [option for option in options if option.items() <= source.computes.items()]
    if source.computes.get("layout") == "pytorchcv_b" and {"layout": "torchvision"} in options:
        shown = [{"layout": "torchvision"}]  # at 0.5x, 24 and C-24 channels are C/2 and C/2
    return {**network.UNSEEN, **source.computes, **shown[0]} if shown else {}


def _source_by_names(network: type[LevelBackbone], names: Iterable[str]) -> Source:
    """The source whose code gives tensors such names."""
    text, lineage = "\n".join(names), [base.__name__ for base in network.__mro__]
    for source in SOURCES.values():
        if source.network in lineage and all(
            re.search(pattern, text, re.MULTILINE) for pattern in source.evidence
        ):
            return source
    return Source(f"a {_short(network)} of unknown source", network.__name__, weak=True)


def _short(network: type[LevelBackbone]) -> str:
    return network.__name__.removeprefix("ShuffleNet")


def last_channels(network: type[LevelBackbone], arguments: Mapping[str, Any]) -> int:
    """The channels of a network's last level."""
    return built(network, arguments, network.LAST_LEVEL).out_channels[-1]


def _classifier(
    tensors: Tensors, own: Tensors, network: type[LevelBackbone], arguments: Mapping[str, Any]
) -> Tensors:
    """The only linear layer of a checkpoint whose input is a backbone's last level."""
    conv5 = own.get("conv5.0.weight")
    channels = last_channels(network, arguments) if conv5 is None else len(conv5)
    found = [
        key
        for key, tensor in tensors.items()
        if tensor.ndim == 2 and channels in tensor.shape and key.endswith("weight")
    ]
    if len(found) != 1:
        return {}
    weight, bias = tensors[found[0]], tensors.get(f"{found[0].removesuffix('weight')}bias")
    classes = None if bias is None else len(bias)
    turned = weight.shape[1] != channels or (weight.shape[0] == channels and classes != channels)
    classifier = {"weight": weight.T if turned else weight}  # Paddle has (channels, classes)
    return classifier if bias is None else {**classifier, "bias": bias}
