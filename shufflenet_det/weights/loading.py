"""Load weights into a backbone: exactly and completely, or partly if that is asked for."""

import inspect
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch.nn.modules.batchnorm import _BatchNorm

from ..backbones.base import NETWORKS, LevelBackbone, plain
from .convert import NoConversionError
from .files import Checkpoint, open_checkpoint, save_tensors
from .fitting import differences
from .images import Images, compare_images, stated_images, warn
from .nanodet import is_nanodet
from .recognition import NoBackboneError, Weights, built, last_channels, recognise
from .records import find_record
from .structure import EPS, Tensors

_DETECTOR = ("neck.", "bbox_head.", "rpn_head.", "roi_head.", "mask_head.")


def read_weights(checkpoint: str, prefix: str | None = None) -> Weights:
    """Open a checkpoint and recognise the backbone in it.

    Args:
        checkpoint: Path, URL, record or mmengine's name, as for
            :func:`~shufflenet_det.weights.files.open_checkpoint`, whose errors it also raises.
        prefix: The prefix of the backbone's names in the file; None: it is found.

    Raises:
        ValueError: The file has no backbone, or several.
    """
    return recognise(open_checkpoint(checkpoint), prefix)


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

    If the network in the file shuffles channels in another way, its weights are converted exactly,
    or an error is raised. Weights of pytorchcv's V1 give feature maps with reversed channels.

    Args:
        backbone: A backbone of this package.
        checkpoint, prefix: As of :func:`read_weights`.
        map_location: Accepted because mmengine passes it, and ignored: the file is opened on the
            CPU, and the tensors are copied to the backbone's device.
        strict: Load all tensors or raise. If False, load the tensors that fit, and list in a
            warning all that keep their random values.
        images: The model's ``data_preprocessor``, to be compared with that of the weights.

    Raises:
        ValueError: The file has another network (the message says how to build it), no known
            backbone, or not all tensors of the backbone; or it is damaged.
    """
    opened = open_checkpoint(checkpoint)
    weights = recognise(opened, prefix, backbone, partial=not strict)
    network, own = type(backbone).__name__, backbone.state_dict()
    problems = _problems(weights, own, backbone.unbuilt_parts)
    tensors: Tensors = {}
    if not problems or (not strict and weights.network == network):
        computes = {key: getattr(backbone, key) for key in backbone.UNSEEN}
        try:
            tensors = weights.converted(own, computes)
        except NoConversionError as error:
            problems = str(error)
    tensors = {key: tensor for key, tensor in tensors.items() if tensor.shape == own[key].shape}
    if not tensors:
        raise ValueError(f"{_misfit(opened, prefix, weights, backbone)}. {problems}")
    _warn_of_evidence(weights, backbone)
    _warn_of_layers(weights, backbone)
    compare_images(weights.images, stated_images(images), checkpoint)
    backbone.images = images
    backbone.load_state_dict({**own, **tensors})
    random = [k for k in own if k not in tensors and not k.endswith("num_batches_tracked")]
    if random:
        warn(
            f"{network}: {len(random)} of {len(own)} tensors keep their random values, because "
            f"{checkpoint} has none that fit: {', '.join(random)}"
        )
    trained = f", trained on {weights.images.data_preprocessor()}" if weights.images else ""
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
        source, prefix: As of :func:`read_weights`.
        target: A ``.pth`` or ``.safetensors`` file, written atomically.
        taken_as: The ``layout`` of V2 or the ``shuffle`` of V1, if the file does not show it.

    Returns:
        The weights as recognised, for :func:`needed_arguments` and :func:`title`.

    Raises:
        ValueError: As :func:`read_weights`; or tensors are missing or left over, or the file does
            not show which of several networks it contains.
    """
    weights = read_weights(source, prefix)
    network = NETWORKS[weights.network]
    options = network.same_shapes(weights.arguments)
    if taken_as is not None:
        named = [option for option in options if taken_as in option.values()]
        if not named:
            legal = [value for option in options for value in option.values()]
            advice = (
                f"must be one of {legal}" if legal else "leave it out, there is only one network"
            )
            raise ValueError(f"--as {taken_as}: {advice} for {title(weights)}")
        weights = replace(weights, computes={**network.UNSEEN, **weights.computes, **named[0]})
    elif len(options) > 1 and next(iter(network.UNSEEN)) not in weights.computes:
        builds = [call(weights.network, {**needed_arguments(weights), **o}) for o in options]
        raise ValueError(
            f"{source!r} does not show which network it has: {' or '.join(builds)}; choose one "
            "with --as; nothing was written"
        )
    arguments = needed_arguments(weights)
    own = built(network, arguments).state_dict()
    problems = _problems(weights, own, ("conv5",))
    if problems:
        raise ValueError(f"{source!r} is not complete; nothing was written. {problems}")
    keys = [*own, *(key for key in weights.tensors if key.startswith("conv5."))]
    tensors = weights.converted(keys, {**network.UNSEEN, **weights.computes})
    statement = {"type": weights.network, "arguments": plain(arguments)}
    if weights.images:
        statement["data_preprocessor"] = weights.images.data_preprocessor()
    save_tensors(tensors, target, statement)
    return weights


def needed_arguments(weights: Weights) -> dict[str, Any]:
    """The arguments of the network that loads the weights as they are, as far as the file shows."""
    network = NETWORKS[weights.network]
    given = {**weights.arguments, **weights.computes}
    arguments = _distinguishing(network, given)
    conv5 = weights.tensors.get("conv5.0.weight")
    if conv5 is not None and len(conv5) != last_channels(network, given):
        arguments["conv5_channels"] = len(conv5)
    if weights.act_cfg and weights.act_cfg != {"type": "ReLU"}:
        arguments["act_cfg"] = dict(weights.act_cfg)
    return arguments


def _distinguishing(network: type[LevelBackbone], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that distinguish a network from related ones, or differ from the defaults."""
    signature = inspect.signature(network.__init__).parameters
    shown = ["groups", *list(network.UNSEEN)[:1], *([] if given.get("depth") else ["widen_factor"])]
    return {
        key: value
        for key, value in given.items()
        if key in shown or key not in signature or value != signature[key].default
    }


def fit_data_preprocessor(model: MutableMapping[str, Any]) -> Images | None:
    """Give a detector the preprocessing that its backbone's weights were trained with.

    Args:
        model: The ``model`` of an mmdet config, changed in place. If its ``data_preprocessor``
            states none of ``mean``, ``std``, ``bgr_to_rgb`` and ``rgb_to_bgr``, those of the
            weights in ``backbone.init_cfg`` are set, if the weights are a record or an existing
            file. ``init_cfg.images`` becomes the model's preprocessing, so that it can be compared
            with that of the weights when they are loaded.

    Returns:
        The model's preprocessing; None if it is unknown.
    """
    backbone = model.get("backbone") or {}
    if str(backbone.get("type")).removeprefix("shufflenet_det.") in NETWORKS:
        init_cfg = backbone.get("init_cfg") or []
        for cfg in init_cfg if isinstance(init_cfg, list) else [init_cfg]:
            if isinstance(cfg.get("checkpoint"), str):
                _fit_images(model, cfg)
    return stated_images(model.get("data_preprocessor"))


def _fit_images(model: MutableMapping[str, Any], init_cfg: MutableMapping[str, Any]) -> None:
    stated = model.get("data_preprocessor") or {}
    if stated_images(stated) is None:
        name = init_cfg["checkpoint"]
        record = find_record(name)
        known = record.images if record else None
        if Path(name).expanduser().is_file():
            with suppress(NoBackboneError):
                known = recognise(open_checkpoint(name), init_cfg.get("prefix")).images
        if known:
            stated = {"type": "DetDataPreprocessor", **stated, **known.data_preprocessor()}
            model["data_preprocessor"] = stated
    images = stated_images(stated)
    if images:
        init_cfg["images"] = images.data_preprocessor()


def redirect_load_from(cfg: MutableMapping[str, Any]) -> bool:
    """Initialise the backbone from the published weights in ``load_from``.

    mmengine loads ``load_from`` into the whole detector by name, and a published classifier has
    none of its names.

    Args:
        cfg: A whole mmdet config, changed in place. If ``load_from`` is a backbone,
            ``model.backbone.init_cfg`` is set to load it, :func:`fit_data_preprocessor` is applied,
            and ``load_from`` becomes None. A file of NanoDet initialises a whole NanoDet instead,
            which may have other classes. For a detector of this package only the preprocessing is
            compared.

    Returns:
        Whether ``load_from`` was redirected. Errors are those of
        :func:`~shufflenet_det.weights.files.open_checkpoint`.
    """
    name = cfg.get("load_from")
    if not name:
        return False
    opened, model = open_checkpoint(name), cfg["model"]
    init_cfg = {"type": "Pretrained", "checkpoint": name}
    if str(model.get("type")).endswith(("NanoDet", "NanoDetPlus")) and is_nanodet(opened.tensors):
        model["init_cfg"] = init_cfg
        cfg["load_from"] = None
        return True
    try:
        weights = recognise(opened)
    except NoBackboneError:
        return False
    names = [key.removeprefix("module.") for key in opened.tensors]
    is_detector = any(key.startswith(_DETECTOR) for key in names)
    if is_detector and any(key.startswith("backbone.conv1.0.") for key in names):
        compare_images(weights.images, stated_images(model.get("data_preprocessor")), name)
        return False
    model["backbone"]["init_cfg"] = init_cfg
    cfg["load_from"] = None
    fit_data_preprocessor(model)
    return True


def title(weights: Weights) -> str:
    """Name the source and the network of weights, for messages."""
    given = weights.arguments
    depth, factor = given.get("depth"), given.get("widen_factor", 1.0)
    groups = f" g={given['groups']}" if "groups" in given else ""
    size = f"of depth {depth}" if depth else f"{factor}x"
    folded = " with BatchNorm folded" if weights.folded else ""
    return f"{weights.source.title}{groups} {size}{folded}"


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """Format the call of a class: ``ShuffleNetV1(groups=3, widen_factor=1.0)``."""

    def value(given: Any) -> str:
        return call("dict", given) if isinstance(given, Mapping) and given else repr(given)

    return f"{name}({', '.join(f'{k}={value(v)}' for k, v in arguments.items())})"


def _problems(weights: Weights, own: Tensors, ignored: tuple[str, ...]) -> str:
    """Describe missing and additional tensors, compared with ``own``, without ``ignored`` parts."""
    tensors = weights.tensors
    left_over = [k for k in tensors if k not in own and k.split(".")[0] not in ignored]
    problems = differences(tensors, own, [*left_over, *weights.left_over])
    counts = f"Of the network's {len(own)} tensors and the file's {len(tensors)}: "
    return problems and counts + problems


def _warn_of_evidence(weights: Weights, backbone: LevelBackbone) -> None:
    """Warn if only the backbone, not the file, decides which network the weights are for."""
    options = backbone.same_shapes(weights.arguments)
    deciding = next(iter(backbone.UNSEEN), None)
    if not weights.source.weak or len(options) < 2 or deciding is None:
        return
    chosen = getattr(backbone, deciding)
    if weights.computes.get(deciding) != chosen:
        others = [repr(o[deciding]) for o in options if o[deciding] != chosen]
        warn(
            f"{weights.name!r} does not show which network it has: {deciding}={chosen!r} is "
            f"assumed, as in the backbone, but {', '.join(others)} has the same shapes"
        )


def _warn_of_layers(weights: Weights, backbone: LevelBackbone) -> None:
    """Warn if the backbone has another activation or eps than the weights were trained with."""
    layers = list(backbone.modules())
    trained = (weights.arguments.get("norm_cfg") or {}).get("eps", EPS)
    eps = {layer.eps for layer in layers if isinstance(layer, _BatchNorm)} - {trained}
    if eps and not weights.source.weak:
        warn(f"{title(weights)} was trained with eps={trained} in norm_cfg, not {eps.pop()}")
    if weights.act_cfg is None:
        return
    act_cfg = {k: v for k, v in weights.act_cfg.items() if k != "inplace"}
    kind = act_cfg.pop("type")
    same = [layer for layer in layers if type(layer).__name__ == kind]
    if not any(all(getattr(layer, k, v) == v for k, v in act_cfg.items()) for layer in same):
        warn(
            f"{title(weights)} was trained with {call('act_cfg=dict', weights.act_cfg)}: "
            "this backbone has another activation"
        )


def _misfit(
    opened: Checkpoint, prefix: str | None, weights: Weights, backbone: LevelBackbone
) -> str:
    """Name the network in a file and the network that should load it."""
    with suppress(ValueError):  # without the backbone, the network that fits best
        weights = recognise(opened, prefix)
    given = {k: v for k, v in backbone.arguments.items() if k not in ("act_cfg", "norm_cfg")}
    wanted_call = call(type(backbone).__name__, _distinguishing(type(backbone), given))
    its_call = call(weights.network, needed_arguments(weights))
    advice = "they do not fit" if its_call == wanted_call else f"build {its_call}, not"
    return (
        f"{weights.name!r}: these weights are {title(weights)}: {advice} {wanted_call}; nothing "
        "was loaded"
    )
