"""Loading published weights into a backbone: completely and exactly, or not at all."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..backbones.base import LevelBackbone
from .channels import EPS, NoConversionError
from .files import Checkpoint, open_checkpoint, save_tensors
from .layouts import LAYOUTS, OURS
from .networks import CLASSES, UNSEEN, measure
from .recognition import Weights, is_asked_for, read, recognise
from .records import declared


def read_weights(checkpoint: str, prefix: str | None = None) -> Weights:
    """Open a checkpoint and recognise the ShuffleNet in it.

    Args:
        checkpoint: Path, URL, record or mmengine's name, as
            :func:`~shufflenet_det.weights.files.open_checkpoint` takes it, which also says what
            is raised for a file that cannot be had or opened.
        prefix: Where in the file the backbone is; None: it is found.

    Returns:
        The weights by this package's names.

    Raises:
        ValueError: No ShuffleNet is there, several are, a tensor is not finite, or the network is
            not the one that the file's name says.
    """
    opened = open_checkpoint(checkpoint)
    weights = recognise(opened, prefix)
    if weights is None:
        raise ValueError(_unknown(opened, prefix))
    _check_name(weights)
    return weights


def load_pretrained(
    backbone: LevelBackbone,
    checkpoint: str,
    prefix: str | None = None,
    map_location: str = "cpu",
) -> None:
    """Load every tensor of a backbone from a published checkpoint, or raise and change nothing.

    The file's layout is recognised by names and shapes. Where the backbone computes in another way
    than the source's network, an exact conversion is made if there is one. After one between V2's
    layouts, and with pytorchcv's V1, features have their channels in another order than the
    source's.

    Args:
        backbone: A backbone of this package.
        checkpoint: Path, URL, record or mmengine's name, as for :func:`read_weights`.
        prefix: Where in the file the backbone is, such as ``backbone.``; None: it is found.
        map_location: As mmengine hands it over; the tensors go through the CPU in any case, to
            where the backbone is.

    Raises:
        ValueError: The file is of another network, and how that one is built; or it holds no
            ShuffleNet, is damaged, or its tensors are not all those that the backbone has.
    """
    opened = open_checkpoint(checkpoint)
    weights = recognise(opened, prefix) or _by_own_names(opened, backbone, prefix)
    _check_name(weights)
    own = backbone.state_dict()
    name = _class_name(backbone)
    computes = {key: getattr(backbone, key) for key in UNSEEN[name]}
    its_call = call(name, {**(measure(name, own).arguments() or {}), **_telling(name, computes)})
    problems = _problems(weights, own, backbone.unbuilt_parts)
    if problems:
        raise ValueError(f"{_misfit(weights, its_call)}. {problems}")
    try:
        tensors = weights.converted(own, computes)
    except NoConversionError as error:
        raise ValueError(f"{_misfit(weights, its_call)} ({error})") from error
    _warn_of_layers(weights, backbone)
    backbone.load_state_dict({key: tensors.get(key, own[key]) for key in own})
    pixels = weights.pixels
    images = f", trained on {pixels.data_preprocessor()}" if pixels else ""
    print_log(
        f"{type(backbone).__name__}: {len(own)} of {len(own)} tensors from {checkpoint} "
        f"({title(weights)}{images})",
        logger="current",
    )


def convert_file(source: str, target: str | Path, prefix: str | None = None) -> Weights:
    """Write a published checkpoint's backbone as a state_dict with this package's names.

    Args:
        source: Path, URL, record or mmengine's name, as for :func:`read_weights`.
        target: A ``.pth`` or ``.safetensors`` file, written whole or not at all.
        prefix: Where in the file the backbone is; None: it is found.

    Returns:
        What was recognised; :func:`needed_arguments` tells what its network is built with.

    Raises:
        ValueError: As :func:`read_weights`; or tensors are missing or left over, or no network
            here computes these.
    """
    weights = read_weights(source, prefix)
    tensors: Mapping[str, Tensor] = weights.tensors
    if weights.layout in LAYOUTS.values():
        arguments = needed_arguments(weights)
        if arguments is None:
            raise ValueError(f"{source!r}: {_no_network(weights)}; nothing was written")
        with torch.device("meta"):
            model = CLASSES[weights.network.name](**arguments, out_indices=(1, 2, 3))
        own = model.state_dict()
        problems = _problems(weights, own, ("conv5",))
        if problems:
            raise ValueError(f"{source!r} is not whole; nothing was written. {problems}")
        keys = [*own, *(key for key in tensors if key.startswith("conv5."))]
        tensors = weights.converted(keys, weights.computes)
    pixels = {"data_preprocessor": weights.pixels.data_preprocessor()} if weights.pixels else {}
    save_tensors(tensors, target, {**weights.computes, **pixels})
    return weights


def needed_arguments(weights: Weights) -> dict[str, Any] | None:
    """What ``ShuffleNetV1`` or ``ShuffleNetV2`` is built with for weights to load as they are.

    Args:
        weights: What was recognised.

    Returns:
        The arguments; what neither the file tells nor the shapes is absent. None: no network here
        computes these weights.
    """
    name = weights.network.name
    shape = weights.network.arguments()
    if shape is None:
        return None
    arguments = {**shape, **_telling(name, weights.computes)}
    if weights.network.split is not None and not weights.computes:
        arguments["layout"] = "torchvision" if weights.network.splits_in_halves else "paper"
    return arguments if can_be_built(name, arguments) else None


def can_be_built(network: str, arguments: Mapping[str, Any]) -> bool:
    """Whether ``ShuffleNetV1`` or ``ShuffleNetV2``, by name, takes these arguments."""
    try:
        with torch.device("meta"):
            CLASSES[network](**arguments, out_indices=(0,))
    except (TypeError, ValueError):
        return False
    return True


def _by_own_names(opened: Checkpoint, backbone: nn.Module, prefix: str | None) -> Weights:
    """Weights whose names are all the backbone's own, whatever variant it is."""
    keys = [key for key in backbone.state_dict() if not key.endswith("num_batches_tracked")]
    names = opened.tensors
    ends = [name.removesuffix(keys[0]) for name in names if f".{name}".endswith(f".{keys[0]}")]
    for place in ends:
        if is_asked_for(place, prefix) and all(f"{place}{key}" in names for key in keys):
            below = {k.removeprefix(place): v for k, v in names.items() if k.startswith(place)}
            layout = OURS[_class_name(backbone)]
            return read(opened.name, layout, below, names, opened.stated.get(place, {}))
    raise ValueError(_unknown(opened, prefix))


def _class_name(backbone: nn.Module) -> str:
    for name, backbone_class in CLASSES.items():
        if isinstance(backbone, backbone_class):
            return name
    raise ValueError(f"{type(backbone).__name__}: must be one of {', '.join(CLASSES)}")


def _check_name(weights: Weights) -> None:
    claims, found = declared(weights.name), weights.network.arguments()
    if found is None or all(found.get(key, value) == value for key, value in claims.items()):
        return
    claimed = ", ".join(f"{key}={value}" for key, value in claims.items())
    raise ValueError(
        f"{weights.name!r} is called a network of {claimed} and holds {title(weights)}; nothing "
        "was loaded"
    )


def _problems(weights: Weights, own: Mapping[str, Tensor], beside: Iterable[str]) -> str:
    """Which tensors of ``own`` the weights have not, or have beyond these and ``beside``."""
    state = weights.tensors
    # Checkpoints older than PyTorch 0.4.1 have no batch counters.
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    misfits = [
        f"{k} is {tuple(state[k].shape)}, not {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    left_over = [k for k in state if k not in own and k.split(".")[0] not in beside]
    problems = "; ".join(
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})"
        for what, keys in (
            ("missing", missing),
            ("of another shape", misfits),
            ("left over", [*left_over, *weights.left_over]),
        )
        if keys
    )
    counts = f"Of the network's {len(own)} tensors and the file's {len(state)}: "
    return problems and counts + problems


def _warn_of_layers(weights: Weights, backbone: nn.Module) -> None:
    """Say where the backbone may not be what the weights were trained in."""
    if weights.layout not in LAYOUTS.values():
        layout = getattr(backbone, "layout", "torchvision")
        ambiguous = weights.network.splits_in_halves and not weights.computes
        if layout != "torchvision" and ambiguous:
            _warn(
                f"{weights.name!r} has torchvision's names and does not say which network it is: "
                f"taken as layout={layout!r}"
            )
        return
    layers = list(backbone.modules())
    eps = {layer.eps for layer in layers if isinstance(layer, _BatchNorm)} - {EPS}
    if eps:
        _warn(f"{title(weights)} was trained with eps={EPS} in norm_cfg, not {eps.pop()}")
    act_cfg = dict(weights.layout.act_cfg)
    kind = act_cfg.pop("type")
    same = (layer for layer in layers if type(layer).__name__ == kind)
    if not any(all(getattr(layer, k) == v for k, v in act_cfg.items()) for layer in same):
        _warn(
            f"{title(weights)} was trained with {call('act_cfg=dict', weights.layout.act_cfg)}: "
            "this backbone has another one"
        )


def _warn(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)


def title(weights: Weights) -> str:
    """Whose weights of which network these are."""
    return f"{weights.layout.title} {weights.network}"


def _telling(name: str, computes: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments worth naming: the first always, others where they are not as usual."""
    usual = UNSEEN[name]
    return {k: v for i, (k, v) in enumerate(computes.items()) if not i or v != usual[k]}


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """How a class is called: ``ShuffleNetV1(groups=3, widen_factor=1.0)``."""
    return f"{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"


def _misfit(weights: Weights, its_call: str) -> str:
    arguments = needed_arguments(weights)
    if arguments is None:
        return f"{weights.name!r}: {_no_network(weights)}; nothing was loaded"
    its_own = call(weights.network.name, arguments)
    advice = "they do not fit" if its_own == its_call else f"build {its_own}, not"
    return (
        f"{weights.name!r}: these weights are {title(weights)}: {advice} {its_call}; nothing was "
        "loaded"
    )


def _no_network(weights: Weights) -> str:
    return f"no network here computes {title(weights)}: there are no such widths"


def _unknown(opened: Checkpoint, prefix: str | None) -> str:
    names = list(opened.tensors)
    below = "" if prefix is None else f" below {prefix!r}"
    titles = [layout.title for layout in (*LAYOUTS.values(), *OURS.values())]
    return (
        f"{opened.name!r} holds no ShuffleNet of a known layout{below}; nothing was loaded. Its "
        f"{len(names)} tensors are called {', '.join(names[:3])}, …; known are {', '.join(titles)}"
    )
