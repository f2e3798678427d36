"""Which network a file's tensors are, and their names here."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..backbones.base import NETWORKS, LevelBackbone
from .convert import NoConversionError, reverse, shuffle_v1
from .files import Checkpoint
from .images import Images, images_by_statistics, stated_images
from .records import IMAGES, SOURCES, Source
from .structure import (
    NORM,
    Closest,
    Match,
    Plan,
    Tensors,
    convolutions,
    find,
    left_over,
    order_is_a_guess,
    plan_of,
    read,
)

_FEWEST = 20  # convolutions of a network
# Words for averaged weights in a prefix; these are taken where there are several.
_AVERAGED = {"avg_model", "ema", "model_ema", "ema_model"}


@dataclass(frozen=True)
class Weights:
    """The tensors of one backbone, by this package's names.

    Attributes:
        name: What their checkpoint was asked for as.
        source: Whose code they were trained with.
        network: The class that has these tensors.
        arguments: What it is built with, as far as shapes or the file tell.
        computes: Of ``arguments``, those that no shape shows; empty where nothing tells them.
        tensors: The backbone's. Units of a V1 may shuffle last (``source.shuffle_last``).
        left_over: Names among the backbone's that nothing is known of.
        classifier: ``weight`` (classes, channels) and ``bias`` (classes) of the linear layer
            behind the global pooling, as far as there are any.
        images: What they were trained on; None where the file does not tell.
        act_cfg: The activation they were trained with; None where the file does not tell.
        own: The file states that it is of this package.
        folded: BatchNorm was folded into the convolutions.
    """

    name: str
    source: Source
    network: str
    arguments: Mapping[str, Any]
    computes: Mapping[str, Any]
    tensors: Tensors
    left_over: Sequence[str] = ()
    classifier: Mapping[str, Tensor] = ()  # type: ignore[assignment]
    images: Images | None = None
    act_cfg: Mapping[str, Any] | None = None
    own: bool = False
    folded: bool = False

    def converted(self, keys: Collection[str], computes: Mapping[str, Any]) -> Tensors:
        """The tensors for a network of the same shape that may compute in another way.

        Args:
            keys: Those wanted; of each unit all or none.
            computes: The arguments of ``UNSEEN`` that the network wanted has.

        Returns:
            The tensors of ``keys``.

        Raises:
            NoConversionError: No exact conversion exists.
        """
        tensors = {key: tensor for key, tensor in self.tensors.items() if key in keys}
        own = {**computes, **self.computes}
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
    closest: Closest | None = None,
    *,
    partial: bool = False,
) -> Weights | None:
    """Find a backbone in a checkpoint and give its tensors this package's names.

    Args:
        checkpoint: An opened file.
        prefix: Look only at names that begin so, behind ``module.`` or not; None: everywhere.
        backbone: The network wanted, which is looked for first.
        closest: Learns how far the best attempt came.
        partial: The network wanted may have a branch more than the file.

    Returns:
        The weights; None if no network of this package is there.

    Raises:
        ValueError: Several backbones are there, or what is there is no plain weights.
    """
    stated = {
        place.removesuffix("."): value
        for place, value in checkpoint.stated.items()
        if str(value.get("type")) in NETWORKS and _asked_for(place, prefix)
    }
    if stated:
        place = _one_of(list(stated), checkpoint.name)
        return _of_own(checkpoint, place, stated[place])
    if backbone is not None:
        named = _of_own_names(checkpoint, backbone.state_dict(), prefix, 1.0)
        if named is not None:
            return _named(checkpoint, named, backbone)
    closest = Closest() if closest is None else closest
    convs = convolutions(checkpoint.tensors)
    stems = {c.shape[0] for c in convs if c.shape[1:] == (3, 3, 3)}
    plans = _plans(stems, backbone, partial) if len(convs) >= _FEWEST else ()
    for network, arguments, plan in plans:
        found = find(plan, convs, closest)
        matches = {m.place: m for m in found if _asked_for(m.place, prefix)}
        if matches:
            match = matches[_one_of(list(matches), checkpoint.name)]
            return _of_match(checkpoint, network, arguments, match)
    if backbone is not None:
        named = _of_own_names(checkpoint, backbone.state_dict(), prefix, 0.5)
        if named is not None:
            return _named(checkpoint, named, backbone)
    return None


def _plans(
    stems: Collection[int], backbone: LevelBackbone | None, partial: bool
) -> Iterable[tuple[type[LevelBackbone], Mapping[str, Any], Plan]]:
    """The networks to look for; the one at hand first."""
    if backbone is not None:
        network, arguments = type(backbone), backbone.arguments
        plan = _plan(network, arguments)
        if plan is not None:
            yield network, arguments, plan
            for chain in range(3 if partial else 0):
                yield network, arguments, plan.without(chain)
    for network in [network for network in NETWORKS.values() if "builds" in vars(network)]:
        for stem in stems:
            for arguments in network.builds(stem):
                plan = _plan_of_build(network.__name__, tuple(arguments.items()))
                if plan is not None:
                    yield network, arguments, plan


@cache
def _plan_of_build(network: str, arguments: tuple[Any, ...]) -> Plan | None:
    return _plan(NETWORKS[network], dict(arguments))


def _plan(network: type[LevelBackbone], arguments: Mapping[str, Any]) -> Plan | None:
    with torch.device("meta"):
        return plan_of(network(**arguments, out_indices=(3,)))


def _asked_for(place: str, prefix: str | None) -> bool:
    here = place.removeprefix("module.").rstrip(".")
    return prefix is None or f"{here}.".startswith(prefix.rstrip(".") + ".")


def _one_of(places: list[str], name: str) -> str:
    averaged = [place for place in places if _AVERAGED.intersection(place.split("."))]
    chosen = averaged if len(places) > 1 else places
    if len(chosen) != 1:
        raise ValueError(
            f"{name!r} holds several backbones ({', '.join(repr(f'{p}.') for p in places)}): say "
            "which one with prefix=… next to checkpoint=…"
        )
    return chosen[0]


def _of_own(checkpoint: Checkpoint, place: str, stated: Mapping[str, Any]) -> Weights:
    """Weights of a file that states its network."""
    network, start = NETWORKS[stated["type"]], f"{place}." if place else ""
    arguments = stated.get("arguments")
    arguments = dict(arguments) if isinstance(arguments, Mapping) else {}
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    try:
        with torch.device("meta"):
            model = network(**arguments, out_indices=(0,))
        images = stated_images(stated.get("data_preprocessor"))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{checkpoint.name!r} states a network that cannot be built: {error}"
        ) from error
    tensors, classifier = {}, {}
    for key, tensor in checkpoint.tensors.items():
        if key.startswith(start):
            tensors[key[len(start) :]] = tensor
    for key in [key for key in tensors if key.startswith(("fc.", "head.fc."))]:
        classifier[key.rpartition(".")[2]] = tensors.pop(key)
    for leaf in ("weight", "bias"):
        fc_key = f"{start.removesuffix('backbone.')}head.fc.{leaf}"
        if fc_key in checkpoint.tensors:
            classifier[leaf] = checkpoint.tensors[fc_key]
    return Weights(
        checkpoint.name,
        Source(f"this package's {network.__name__.removeprefix('ShuffleNet')}", network.__name__),
        network.__name__,
        {key: value for key, value in model.arguments.items()},
        {key: getattr(model, key) for key in network.UNSEEN},
        tensors,
        classifier=classifier,
        images=images,
        act_cfg=arguments.get("act_cfg") or {"type": "ReLU"},
        own=True,
    )


def _of_own_names(
    checkpoint: Checkpoint, own: Mapping[str, Tensor], prefix: str | None, share: float
) -> str | None:
    """Where a file has so large a share of a network's tensors by their names here."""
    keys = [key for key in own if not key.endswith("num_batches_tracked")]
    names = checkpoint.tensors
    places = {n.removesuffix(k).removesuffix(".") for k in keys[:1] for n in names if _ends(n, k)}

    def fits(place: str, key: str) -> bool:
        tensor = names.get(f"{place}.{key}" if place else key)
        return tensor is not None and (share < 1 or tensor.shape == own[key].shape)

    found = [
        place
        for place in places
        if _asked_for(place, prefix) and sum(fits(place, k) for k in keys) >= share * len(keys)
    ]
    return _one_of(found, checkpoint.name) if found else None


def _ends(name: str, key: str) -> bool:
    return f".{name}".endswith(f".{key}")


def _named(checkpoint: Checkpoint, place: str, backbone: LevelBackbone) -> Weights:
    """Weights of a file that has the names of the network at hand."""
    start = f"{place}." if place else ""
    below = {k[len(start) :]: v for k, v in checkpoint.tensors.items() if k.startswith(start)}
    parts = [name for name, _ in backbone.named_children()] + [*backbone.unbuilt_parts]
    tensors = {k: v for k, v in below.items() if k.split(".")[0] in parts}
    extra = [k for k in tensors if k.startswith("stage4.conv5.")]  # NanoDet's name
    tensors |= {k.removeprefix("stage4."): tensors.pop(k) for k in extra}
    source = _source(type(backbone), checkpoint.tensors)
    return _from_source(checkpoint, source, type(backbone), backbone.arguments, tensors)


def _of_match(
    checkpoint: Checkpoint,
    network: type[LevelBackbone],
    arguments: Mapping[str, Any],
    match: Match,
) -> Weights:
    """Weights of a file in which a network's convolutions were found."""
    tensors, folded, bare_stem = read(match)
    source = _source(network, checkpoint.tensors)
    if source.weak and order_is_a_guess(match, list(checkpoint.tensors)):
        raise ValueError(
            f"{checkpoint.name!r} has its tensors in alphabetical order, and their names do "
            "not tell the order of the convolutions: save the model's state_dict as .pth"
        )
    weights = _from_source(checkpoint, source, network, arguments, tensors)
    computes = dict(weights.computes)
    if "stem_act" in network.UNSEEN and bare_stem:
        computes["stem_act"] = False
    return replace(
        weights,
        computes=computes,
        left_over=left_over(match, list(checkpoint.tensors)),
        folded=folded,
    )


def _source(network: type[LevelBackbone], names: Iterable[str]) -> Source:
    """Whose code the names in a file speak of."""
    text, lineage = "\n".join(names), [base.__name__ for base in network.__mro__]
    for source in SOURCES.values():
        if source.network in lineage and all(
            re.search(pattern, text, re.MULTILINE) for pattern in source.evidence
        ):
            return source
    title = f"a {network.__name__.removeprefix('ShuffleNet')} of unknown source"
    return Source(title, network.__name__, weak=True)


def _from_source(
    checkpoint: Checkpoint,
    source: Source,
    network: type[LevelBackbone],
    arguments: Mapping[str, Any],
    tensors: Tensors,
) -> Weights:
    shape = {k: v for k, v in arguments.items() if k not in network.UNSEEN}
    options = network.same_shapes(arguments)
    told = [option for option in options if option.items() <= source.computes.items()]
    if source.computes.get("layout") == "pytorchcv_b" and {"layout": "torchvision"} in options:
        told = [{"layout": "torchvision"}]  # at 0.5x, 24 and C-24 channels are C/2 and C/2
    computes = {}
    if len(options) == 1:
        computes = {**network.UNSEEN, **options[0]}
    elif told:
        computes = {**network.UNSEEN, **source.computes, **told[0]}
    elif source.computes:  # its names, but not its shapes
        source = replace(source, weak=True, title=f"{source.title}, but for its shapes")
    conv5 = tensors.get("conv5.0.weight")
    channels = out_channels(network, arguments) if conv5 is None else conv5.shape[0]
    classifier = _classifier(checkpoint.tensors, channels)
    norm = {leaf: tensors[f"conv1.1.{leaf}"] for leaf in NORM if f"conv1.1.{leaf}" in tensors}
    stem = tensors["conv1.0.weight"]
    images = images_by_statistics(stem, norm, source.images, IMAGES)
    if source.pooled_last:
        tensors = reverse(tensors)
        classifier = {k: v.flip(1) if k == "weight" else v for k, v in classifier.items()}
    return Weights(
        checkpoint.name,
        source,
        network.__name__,
        shape,
        computes,
        tensors,
        classifier=classifier,
        images=images,
        act_cfg=None if source.weak else source.act_cfg,
    )


def out_channels(network: type[LevelBackbone], arguments: Mapping[str, Any]) -> int:
    """Channels behind a network's last part."""
    with torch.device("meta"):
        return network(**arguments, out_indices=(network.LAST_LEVEL,)).out_channels[-1]


def _classifier(names: Mapping[str, Tensor], channels: int) -> Tensors:
    """The one linear layer of a file that takes so many channels."""
    found = [
        key
        for key, tensor in names.items()
        if tensor.ndim == 2 and channels in tensor.shape and key.endswith("weight")
    ]
    if len(found) != 1:
        return {}
    weight, bias = names[found[0]], names.get(f"{found[0].removesuffix('weight')}bias")
    classes = None if bias is None else len(bias)
    turned = weight.shape[1] != channels or (weight.shape[0] == channels and classes != channels)
    classifier = {"weight": weight.T if turned else weight}  # Paddle keeps (channels, classes)
    return classifier if bias is None else {**classifier, "bias": bias}
