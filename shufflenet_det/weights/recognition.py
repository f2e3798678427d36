"""Which network a file's tensors are, and their names here."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..backbones.base import NETWORKS, LevelBackbone
from .convert import NoConversionError, reverse, shuffle_v1
from .files import Checkpoint
from .images import Images, images_by_statistics, stated_images
from .records import IMAGES, SOURCES, Source
from .structure import (
    NORM,
    Match,
    Miss,
    Plan,
    Tensors,
    averaged,
    convolutions,
    find,
    left_over,
    order_is_a_guess,
    plan_of,
    read,
)

_FEWEST = 20  # convolutions of a network
_OF_LAYERS = ("act_cfg", "norm_cfg", "conv_cfg")  # arguments that foreign tensors do not show

T = TypeVar("T")


class NoBackboneError(ValueError):
    """No network of this package is in a file."""


@dataclass(frozen=True)
class Weights:
    """The tensors of one backbone, by this package's names."""

    name: str  # what their checkpoint was asked for as
    source: Source  # whose code they were trained with
    network: str  # the class that has these tensors
    arguments: Mapping[str, Any]  # what builds a network of these shapes
    computes: Mapping[str, Any]  # the arguments that no shape shows, as far as the file does
    tensors: Tensors  # units of a V1 may shuffle last (``source.shuffle_last``)
    # ``weight`` (classes, channels) and ``bias`` (classes) of the linear layer behind the global
    # pooling, as far as there are any.
    classifier: Tensors
    images: Images | None  # what they were trained on, as far as the file shows it
    left_over: Sequence[str] = ()  # names among the backbone's that nothing is known of
    folded: bool = False  # BatchNorm was folded into the convolutions

    @property
    def act_cfg(self) -> Mapping[str, Any] | None:
        """The activation they were trained with; None where the file does not show it."""
        return None if self.source.weak else self.source.act_cfg

    def converted(self, keys: Iterable[str], computes: Mapping[str, Any]) -> Tensors:
        """The tensors ``keys`` for a network of the same shapes that may compute in another way.

        ``computes`` are its arguments of ``UNSEEN``, which decide where the file's evidence is
        weak. Of each unit all keys are wanted or none.

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
            raise NoConversionError("channels cannot move through other layers than BatchNorm")
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

    A file of this package states its network. Elsewhere the names of the network wanted are
    looked for, then the convolutions of every network.

    Args:
        checkpoint: An opened file.
        prefix: Look only at names that begin so, behind ``module.`` or not; None: everywhere.
        backbone: The network wanted, which is looked for first.
        partial: The network wanted may have a branch more than the file.

    Raises:
        NoBackboneError: No network of this package is there.
        ValueError: Several backbones are there, or what is there is no plain weights.
    """
    stated = {
        place.removesuffix("."): (place.removesuffix("."), value)
        for place, value in checkpoint.stated.items()
        if str(value.get("type")) in NETWORKS
    }
    if of_statement := _only(stated, prefix, checkpoint.name):
        return _of_statement(checkpoint, *of_statement)
    if backbone is not None:
        named = {place: (place,) for place in _places_of_names(checkpoint, backbone)}
        if of_names := _only(named, prefix, checkpoint.name):
            tensors = {
                re.sub(r"^stage4\.conv5\.", "conv5.", key): tensor  # NanoDet's name
                for key, tensor in _below(checkpoint, of_names[0], backbone).items()
            }
            source = _source(type(backbone), checkpoint.tensors)
            return _of_source(checkpoint, source, type(backbone), backbone.arguments, tensors)
    convs = convolutions(checkpoint.tensors)
    stems = {conv.weight.shape[0] for conv in convs if conv.weight.shape[1:] == (3, 3, 3)}
    closest = Miss()
    plans = _plans(sorted(stems), backbone, partial) if len(convs) >= _FEWEST else ()
    for network, arguments, plan in plans:
        found, miss = find(plan, convs)
        if match := _only({match.place: match for match in found}, prefix, checkpoint.name):
            return _of_match(checkpoint, network, arguments, match)
        closest = max(closest, miss, key=lambda miss: miss.fits)
    below = "" if prefix is None else f" below {prefix!r}"
    message = (
        f"{checkpoint.name!r} holds no ShuffleNet{below} that this package knows; nothing was "
        f"loaded. Its {len(checkpoint.tensors)} tensors are called "
        f"{', '.join(list(checkpoint.tensors)[:3])}, …."
    )
    if closest.slot is not None and closest.fits > 2:
        conv = closest.conv
        there = f"{conv.name} {tuple(conv.weight.shape)}" if conv else "nothing"
        message += (
            f" The closest network's first {closest.fits} convolutions fit; in place of its "
            f"{closest.slot.conv} {closest.slot.shape} there is {there}."
        )
    raise NoBackboneError(message)


def _plans(
    stems: Sequence[int], backbone: LevelBackbone | None, partial: bool
) -> Iterator[tuple[type[LevelBackbone], Mapping[str, Any], Plan]]:
    """The networks to look for; the one wanted first."""
    if backbone is not None:
        network, arguments = type(backbone), backbone.arguments
        plan = plan_of(built(network, arguments))
        if plan is not None:
            yield network, arguments, plan
            for chain in range(3 if partial else 0):
                yield network, arguments, plan.without(chain)
    for network in NETWORKS.values():
        if "builds" in vars(network):
            for arguments in (build for stem in stems for build in network.builds(stem)):
                plan = _plan_of_build(network.__name__, tuple(arguments.items()))
                if plan is not None:
                    yield network, arguments, plan


@cache
def _plan_of_build(network: str, arguments: tuple[Any, ...]) -> Plan | None:
    return plan_of(built(NETWORKS[network], dict(arguments)))


def built(
    network: type[LevelBackbone], arguments: Mapping[str, Any], level: int = 3
) -> LevelBackbone:
    """A network up to a level, of shapes without numbers."""
    with torch.device("meta"):
        return network(**arguments, out_indices=(level,))


def _only(found: Mapping[str, T], prefix: str | None, name: str) -> T | None:
    """What is at the only place below a prefix, or at the only one there of averaged weights."""
    start = "" if prefix is None else f"{prefix.rstrip('.')}."
    places = [p for p in found if f"{p.removeprefix('module.').rstrip('.')}.".startswith(start)]
    chosen = averaged(places)
    if len(chosen) > 1:
        raise ValueError(
            f"{name!r} holds several backbones ({', '.join(repr(f'{p}.') for p in places)}): say "
            "which one with prefix=… next to checkpoint=…"
        )
    return found[chosen[0]] if chosen else None


def _of_statement(checkpoint: Checkpoint, place: str, stated: Mapping[str, Any]) -> Weights:
    """Weights of a file that states its network."""
    network = NETWORKS[stated["type"]]
    try:
        arguments: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in dict(stated.get("arguments") or {}).items()
        }
        backbone = built(network, arguments, level=0)
        images = stated_images(stated.get("data_preprocessor"))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{checkpoint.name!r} states a network that cannot be built: {error}"
        ) from error
    source = Source(
        f"this package's {_short(network)}",
        network.__name__,
        act_cfg=arguments.get("act_cfg") or {"type": "ReLU"},
    )
    tensors = _below(checkpoint, place, backbone)
    return Weights(
        checkpoint.name,
        source,
        network.__name__,
        backbone.arguments,
        {key: getattr(backbone, key) for key in network.UNSEEN},
        tensors,
        _classifier(checkpoint.tensors, tensors, network, backbone.arguments),
        images,
    )


def _places_of_names(checkpoint: Checkpoint, backbone: LevelBackbone) -> list[str]:
    """Where a file has half of a network's tensors or more, by their names here and their shapes.

    Few tensors may be missing or left over: the file of a relative, or a damaged one.
    """
    tensors = checkpoint.tensors
    own = {k: v for k, v in backbone.state_dict().items() if not k.endswith("batches_tracked")}
    first = next(iter(own))
    starts = [k.removesuffix(first) for k in tensors if f".{k}".endswith(f".{first}")]

    def fitting(start: str) -> int:
        return sum(start + k in tensors and tensors[start + k].shape == own[k].shape for k in own)

    return [start.removesuffix(".") for start in starts if fitting(start) >= 0.5 * len(own)]


def _below(checkpoint: Checkpoint, place: str, backbone: LevelBackbone) -> Tensors:
    """The tensors of a backbone's parts, below a place in a file."""
    start = f"{place}." if place else ""
    below = {k[len(start) :]: v for k, v in checkpoint.tensors.items() if k.startswith(start)}
    parts = {*dict(backbone.named_children()), *backbone.unbuilt_parts}
    return {key: tensor for key, tensor in below.items() if key.split(".")[0] in parts}


def _of_match(
    checkpoint: Checkpoint,
    network: type[LevelBackbone],
    arguments: Mapping[str, Any],
    match: Match,
) -> Weights:
    """Weights of a file in which a network's convolutions were found."""
    names = list(checkpoint.tensors)
    source = _source(network, names)
    if source.weak and order_is_a_guess(match, names):
        raise ValueError(
            f"{checkpoint.name!r} has its tensors in alphabetical order, and their names do "
            "not show the order of the convolutions: save the model's state_dict as .pth"
        )
    tensors, folded, bare_stem = read(match)
    weights = _of_source(checkpoint, source, network, arguments, tensors)
    computes = dict(weights.computes)
    if "stem_act" in network.UNSEEN and bare_stem:
        computes["stem_act"] = False
    return replace(weights, computes=computes, left_over=left_over(match, names), folded=folded)


def _source(network: type[LevelBackbone], names: Iterable[str]) -> Source:
    """Whose code the names in a file are evidence of."""
    text, lineage = "\n".join(names), [base.__name__ for base in network.__mro__]
    for source in SOURCES.values():
        if source.network in lineage and all(
            re.search(pattern, text, re.MULTILINE) for pattern in source.evidence
        ):
            return source
    return Source(f"a {_short(network)} of unknown source", network.__name__, weak=True)


def _short(network: type[LevelBackbone]) -> str:
    return network.__name__.removeprefix("ShuffleNet")


def _of_source(
    checkpoint: Checkpoint,
    source: Source,
    network: type[LevelBackbone],
    arguments: Mapping[str, Any],
    tensors: Tensors,
) -> Weights:
    options = network.same_shapes(arguments)
    shown = [option for option in options if option.items() <= source.computes.items()]
    if source.computes.get("layout") == "pytorchcv_b" and {"layout": "torchvision"} in options:
        shown = [{"layout": "torchvision"}]  # at 0.5x, 24 and C-24 channels are C/2 and C/2
    computes: dict[str, Any] = {}
    if len(options) == 1:
        computes = {**network.UNSEEN, **options[0]}
    elif shown:
        computes = {**network.UNSEEN, **source.computes, **shown[0]}
    elif source.computes:  # its names, but not its shapes
        source = replace(source, weak=True, title=f"{source.title}, but for its shapes")
    classifier = _classifier(checkpoint.tensors, tensors, network, arguments)
    norm = {leaf: tensors[f"conv1.1.{leaf}"] for leaf in NORM if f"conv1.1.{leaf}" in tensors}
    images = images_by_statistics(tensors["conv1.0.weight"], norm, source.images, IMAGES)
    if source.pooled_last:
        tensors = reverse(tensors)
        classifier = {k: v.flip(1) if k == "weight" else v for k, v in classifier.items()}
    return Weights(
        checkpoint.name,
        source,
        network.__name__,
        {key: value for key, value in arguments.items() if key not in _OF_LAYERS},
        computes,
        tensors,
        classifier,
        images,
    )


def last_channels(network: type[LevelBackbone], arguments: Mapping[str, Any]) -> int:
    """Channels of a network's last level."""
    return built(network, arguments, network.LAST_LEVEL).out_channels[-1]


def _classifier(
    tensors: Mapping[str, Tensor],
    own: Tensors,
    network: type[LevelBackbone],
    arguments: Mapping[str, Any],
) -> Tensors:
    """The one linear layer of a file that takes the channels of a backbone's last part."""
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
    classifier = {"weight": weight.T if turned else weight}  # Paddle keeps (channels, classes)
    return classifier if bias is None else {**classifier, "bias": bias}
