"""Loading weights into a backbone: completely and exactly, or as far as was asked for."""

import inspect
import logging
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..backbones.base import NETWORKS, LevelBackbone, plain
from .convert import NoConversionError
from .files import Checkpoint, open_checkpoint, save_tensors
from .images import Images, compare_images, stated_images
from .nanodet import is_nanodet
from .recognition import Weights, out_channels, recognise
from .records import find_record
from .structure import EPS, Closest

_DETECTOR = ("neck.", "bbox_head.", "rpn_head.", "roi_head.", "mask_head.")


def read_weights(checkpoint: str, prefix: str | None = None) -> Weights:
    """Open a checkpoint and recognise the backbone in it.

    Args:
        checkpoint: Path, URL, record or mmengine's name, as
            :func:`~shufflenet_det.weights.files.open_checkpoint` takes it, which also says what
            is raised for a file that is not found or cannot be opened.
        prefix: Where in the file the backbone is; None: it is found.

    Returns:
        The weights by this package's names.

    Raises:
        ValueError: No backbone is there, or several are.
    """
    opened, closest = open_checkpoint(checkpoint), Closest()
    weights = recognise(opened, prefix, closest=closest)
    if weights is None:
        raise ValueError(_unknown(opened, prefix, closest))
    return weights


def load_pretrained(
    backbone: LevelBackbone,
    checkpoint: str,
    prefix: str | None = None,
    map_location: str = "cpu",
    *,
    strict: bool = True,
    images: Mapping[str, Any] | None = None,
) -> None:
    """Load a backbone's tensors from a checkpoint, or raise and change nothing.

    The network in the file is recognised by the shapes and the order of its convolutions. Where
    it shuffles channels in another way, an exact conversion is made if there is one. With
    pytorchcv's V1, features come in the opposite order of channels.

    Args:
        backbone: A backbone of this package.
        checkpoint: Path, URL, record or mmengine's name, as for :func:`read_weights`.
        prefix: Where in the file the backbone is, such as ``backbone.``; None: it is found.
        map_location: As mmengine hands it over; the tensors go through the CPU in any case, to
            where the backbone is.
        strict: Load all tensors or raise. If False, those that fit are loaded, and a warning
            lists all that keep their random values.
        images: The model's ``data_preprocessor``, to be compared with that of the weights.

    Raises:
        ValueError: The file is of another network, and how that one is built; or it holds no
            known backbone, is damaged, or its tensors are not all those that the backbone has.
    """
    opened, closest = open_checkpoint(checkpoint), Closest()
    weights = recognise(opened, prefix, backbone, closest, partial=not strict)
    if weights is None:
        raise ValueError(_unknown(opened, prefix, closest))
    own = backbone.state_dict()
    network = type(backbone).__name__
    computes = {key: getattr(backbone, key) for key in backbone.UNSEEN}
    told = weights.computes
    if weights.source.weak:  # the backbone decides, among the networks of these shapes
        told = {key: value for key, value in told.items() if key == "stem_act"}
    problems = _problems(weights, own, backbone.unbuilt_parts)
    fitting = not problems or (not strict and weights.network == network)
    try:
        if not fitting:
            raise NoConversionError(problems)
        tensors = replace(weights, computes=told).converted(list(own), computes)
        tensors = {k: v for k, v in tensors.items() if v.shape == own[k].shape}
        if not tensors:
            raise NoConversionError(problems)
    except NoConversionError as error:
        raise ValueError(f"{_misfit(opened, prefix, weights, backbone)}. {error}") from error
    _warn_of_evidence(weights, computes)
    _warn_of_layers(weights, backbone)
    compare_images(weights.images, stated_images(images), checkpoint)
    backbone.images = images
    backbone.load_state_dict({key: tensors.get(key, own[key]) for key in own})
    random = [k for k in own if k not in tensors and not k.endswith("num_batches_tracked")]
    if random:
        _warn(
            f"{network}: {len(random)} of {len(own)} tensors keep their random values, as "
            f"{checkpoint} has none that fit: {', '.join(random)}"
        )
    made_for = weights.images
    trained = f", trained on {made_for.data_preprocessor()}" if made_for else ""
    print_log(
        f"{network}: {len(own) - len(random)} of {len(own)} tensors from {checkpoint} "
        f"({title(weights)}{trained})",
        logger="current",
    )


def convert_file(
    source: str, target: str | Path, prefix: str | None = None, taken_as: str | None = None
) -> Weights:
    """Write a published checkpoint's backbone as a state_dict with this package's names.

    Args:
        source: Path, URL, record or mmengine's name, as for :func:`read_weights`.
        target: A ``.pth`` or ``.safetensors`` file, written whole or not at all.
        prefix: Where in the file the backbone is; None: it is found.
        taken_as: The ``layout`` of V2 or the ``shuffle`` of V1, where the file does not tell it.

    Returns:
        What was recognised; :func:`needed_arguments` tells what its network is built with.

    Raises:
        ValueError: As :func:`read_weights`; or tensors are missing or left over, or the file does
            not tell which of several networks it is of.
    """
    weights = read_weights(source, prefix)
    network = NETWORKS[weights.network]
    options = network.same_shapes({**weights.arguments, **_split(weights)})
    if taken_as is not None:
        named = [option for option in options if taken_as in option.values()]
        if not named:
            legal = [value for option in options for value in option.values()]
            raise ValueError(f"--as {taken_as}: {title(weights)} can be one of {legal or 'itself'}")
        weights = replace(weights, computes={**network.UNSEEN, **weights.computes, **named[0]})
    elif len(options) > 1 and next(iter(network.UNSEEN)) not in weights.computes:
        builds = [call(weights.network, {**needed_arguments(weights), **o}) for o in options]
        raise ValueError(
            f"{source!r} does not tell which network it is of: {' or '.join(builds)}; say it "
            "with --as; nothing was written"
        )
    arguments = needed_arguments(weights)
    with torch.device("meta"):
        own = network(**arguments, out_indices=(3,)).state_dict()
    problems = _problems(weights, own, ("conv5",))
    if problems:
        raise ValueError(f"{source!r} is not whole; nothing was written. {problems}")
    keys = [*own, *(key for key in weights.tensors if key.startswith("conv5."))]
    tensors = weights.converted(keys, {**network.UNSEEN, **weights.computes})
    statement = {"type": weights.network, "arguments": plain(arguments)}
    if weights.images:
        statement["data_preprocessor"] = weights.images.data_preprocessor()
    save_tensors(tensors, target, statement)
    return weights


def needed_arguments(weights: Weights) -> dict[str, Any]:
    """What the network is built with for weights to load as they are.

    Args:
        weights: What was recognised.

    Returns:
        The arguments; what neither the file tells nor the shapes is absent.
    """
    network = NETWORKS[weights.network]
    signature = inspect.signature(network.__init__).parameters
    usual = {name: parameter.default for name, parameter in signature.items()}
    given = dict(weights.arguments)
    shown = ["groups", *([] if given.get("depth") else ["widen_factor"])]
    arguments = {k: v for k, v in given.items() if k in shown or v != usual.get(k)}
    for i, (key, value) in enumerate(network.UNSEEN.items()):
        arguments.pop(key, None)
        computed = {**_split(weights), **weights.computes}
        if key in computed and (not i or computed[key] != value):
            arguments[key] = computed[key]
    conv5 = weights.tensors.get("conv5.0.weight")
    if conv5 is not None and conv5.shape[0] != out_channels(network, {**given, **_split(weights)}):
        arguments["conv5_channels"] = conv5.shape[0]
    if weights.act_cfg and weights.act_cfg != {"type": "ReLU"}:
        arguments["act_cfg"] = dict(weights.act_cfg)
    return arguments


def fit_data_preprocessor(model: MutableMapping[str, Any]) -> Images | None:
    """Give a detector the images that its backbone's weights were trained on.

    Args:
        model: The ``model`` of an mmdet config. If its ``data_preprocessor`` states none of
            ``mean``, ``std``, ``bgr_to_rgb`` and ``rgb_to_bgr``, those of the weights that
            ``backbone.init_cfg`` names are set in place: of a record, or of a file that is there.
            ``init_cfg.images`` becomes what the model has, which is compared with the images of
            the weights when they are loaded.

    Returns:
        What the model has now; None if nothing states it.
    """
    backbone = model.get("backbone") or {}
    init_cfg = backbone.get("init_cfg") or []
    stated = model.get("data_preprocessor") or {}
    cfgs: list[MutableMapping[str, Any]] = init_cfg if isinstance(init_cfg, list) else [init_cfg]
    for cfg in cfgs:
        name = cfg.get("checkpoint")
        ours = str(backbone.get("type")).removeprefix("shufflenet_det.") in NETWORKS
        if not isinstance(name, str) or not ours:
            continue
        if stated_images(stated) is None:
            record = find_record(name)
            known = record.images if record else None
            if Path(name).expanduser().is_file():
                weights = recognise(open_checkpoint(name), cfg.get("prefix"))
                known = weights.images if weights else None
            if known:
                stated = {"type": "DetDataPreprocessor", **stated, **known.data_preprocessor()}
                model["data_preprocessor"] = stated
        images = stated_images(stated)
        if images:
            cfg["images"] = images.data_preprocessor()
    return stated_images(stated)


def redirect_load_from(cfg: MutableMapping[str, Any]) -> bool:
    """Let ``load_from`` of a backbone's published weights initialise the backbone.

    mmengine fits ``load_from`` to the whole detector by names, of which a published classifier
    has none.

    Args:
        cfg: A whole mmdet config. Where its ``load_from`` is not a detector of this package,
            ``model.backbone.init_cfg`` takes it over, :func:`fit_data_preprocessor` is applied
            and ``load_from`` becomes None. The images of a detector are compared with the model's.
            A NanoDet file's whole detector initialises a NanoDet, its classes may be others.

    Returns:
        Whether it did.

    Raises:
        OSError, ImportError, ValueError: The file is not found or cannot be opened; see
            :func:`~shufflenet_det.weights.files.open_checkpoint`.
    """
    name = cfg.get("load_from")
    if not name:
        return False
    opened = open_checkpoint(name)
    model = cfg["model"]
    if str(model.get("type")).endswith(("NanoDet", "NanoDetPlus")) and is_nanodet(opened.tensors):
        model["init_cfg"] = {"type": "Pretrained", "checkpoint": name}
        cfg["load_from"] = None
        return True
    weights = recognise(opened)
    names = [key.removeprefix("module.") for key in opened.tensors]
    detector = any(key.startswith(_DETECTOR) for key in names)
    if weights is None or (detector and any(key.startswith("backbone.conv1.0.") for key in names)):
        if weights is not None:
            compare_images(weights.images, stated_images(model.get("data_preprocessor")), name)
        return False
    model["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": name}
    cfg["load_from"] = None
    fit_data_preprocessor(model)
    return True


def title(weights: Weights) -> str:
    """Whose weights of which network these are."""
    arguments = needed_arguments(weights)
    groups = f" g={arguments['groups']}" if "groups" in arguments else ""
    depth = arguments.get("depth")
    size = f"of depth {depth}" if depth else f"{arguments.get('widen_factor', 1.0)}x"
    folded = " with BatchNorm folded" if weights.folded else ""
    return f"{weights.source.title}{groups} {size}{folded}"


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """How a class is called: ``ShuffleNetV1(groups=3, widen_factor=1.0)``."""

    def value(given: Any) -> str:
        return call("dict", given) if isinstance(given, Mapping) and given else repr(given)

    return f"{name}({', '.join(f'{k}={value(v)}' for k, v in arguments.items())})"


def _split(weights: Weights) -> dict[str, Any]:
    """A layout of V2 that has these shapes."""
    split = weights.tensors.get("stage2.0.branch1.2.weight")
    if "layout" not in NETWORKS[weights.network].UNSEEN or split is None:
        return {}
    in_24 = split.shape[0] == split.shape[1]
    return {"layout": weights.computes.get("layout", "paper" if in_24 else "torchvision")}


def _problems(weights: Weights, own: Mapping[str, Tensor], beside: tuple[str, ...]) -> str:
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


def _warn_of_evidence(weights: Weights, computes: Mapping[str, Any]) -> None:
    """Say where nothing but the backbone at hand tells which network weights are of."""
    options = NETWORKS[weights.network].same_shapes({**weights.arguments, **_split(weights)})
    deciding = next(iter(computes), None)
    if weights.own or not weights.source.weak or len(options) < 2 or deciding is None:
        return
    if weights.computes.get(deciding) != computes[deciding]:
        others = [o for o in options if o[deciding] != computes[deciding]]
        _warn(
            f"{weights.name!r} does not tell which network it is of: taken as "
            f"{deciding}={computes[deciding]!r}, as the backbone is; of the same shapes are "
            f"{', '.join(repr(o[deciding]) for o in others)}"
        )


def _warn_of_layers(weights: Weights, backbone: LevelBackbone) -> None:
    """Say where the backbone's layers are not those that the weights were trained in."""
    layers = list(backbone.modules())
    norm_cfg = weights.arguments.get("norm_cfg") if weights.own else None
    trained = (norm_cfg or {}).get("eps", EPS)
    eps = {layer.eps for layer in layers if isinstance(layer, _BatchNorm)} - {trained}
    if eps and not weights.source.weak:
        _warn(f"{title(weights)} was trained with eps={trained} in norm_cfg, not {eps.pop()}")
    if weights.act_cfg is None:
        return
    act_cfg = {k: v for k, v in weights.act_cfg.items() if k != "inplace"}
    kind = act_cfg.pop("type")
    same = [layer for layer in layers if type(layer).__name__ == kind]
    if not any(all(getattr(layer, k, v) == v for k, v in act_cfg.items()) for layer in same):
        _warn(
            f"{title(weights)} was trained with {call('act_cfg=dict', weights.act_cfg)}: "
            "this backbone has another one"
        )


def _warn(message: str) -> None:
    print_log(message, logger="current", level=logging.WARNING)


def _misfit(
    opened: Checkpoint, prefix: str | None, weights: Weights, backbone: LevelBackbone
) -> str:
    """Which network a file is of, and which one was to take it."""
    at_hand = Weights(
        "",
        weights.source,
        type(backbone).__name__,
        {k: v for k, v in backbone.arguments.items() if k not in ("act_cfg", "norm_cfg")},
        {key: getattr(backbone, key) for key in backbone.UNSEEN},
        {},
    )
    its_call = call(at_hand.network, needed_arguments(at_hand))
    weights = recognise(opened, prefix) or weights
    its_own = call(weights.network, needed_arguments(weights))
    advice = "they do not fit" if its_own == its_call else f"build {its_own}, not"
    return (
        f"{weights.name!r}: these weights are {title(weights)}: {advice} {its_call}; nothing was "
        "loaded"
    )


def _unknown(opened: Checkpoint, prefix: str | None, closest: Closest) -> str:
    names = list(opened.tensors)
    below = "" if prefix is None else f" below {prefix!r}"
    found = ""
    if closest.slot is not None and closest.fits > 2:
        there = f"{closest.conv.name} {closest.conv.shape}" if closest.conv else "nothing"
        found = (
            f" The closest network's first {closest.fits} convolutions fit, and where its "
            f"{closest.slot.conv} {closest.slot.shape} should be, there is {there}."
        )
    return (
        f"{opened.name!r} holds no ShuffleNet{below} that this package knows; nothing was loaded. "
        f"Its {len(names)} tensors are called {', '.join(names[:3])}, ….{found}"
    )
