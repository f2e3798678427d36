"""Load the files of NanoDet and NanoDet-Plus (github.com/RangiLyu/nanodet) into our detectors.

Their tensors are called ``backbone.*``, ``fpn.*``, ``head.*`` and, for training, ``aux_fpn.*`` and
``aux_head.*``. In Lightning's checkpoints the prefix is ``model.``, or ``avg_model.`` for averages.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .files import open_checkpoint
from .fitting import differences
from .structure import averaged, identity_norm

_log = partial(print_log, logger="current")
_LAST = "gfl_cls."
_ANCHOR = f"head.{_LAST}0.weight"
_RENAMES = (
    (r"^(aux_)?fpn\.", r"\1neck."),
    (r"^head\.", "bbox_head."),
    (r"\.depthwise\.", ".depthwise_conv.conv."),
    (r"\.dwnorm\.", ".depthwise_conv.bn."),
    (r"\.pointwise\.", ".pointwise_conv.conv."),
    (r"\.pwnorm\.", ".pointwise_conv.bn."),
    (r"_blocks\.(\d+)\.blocks\.0\.", r"_blocks.\1."),
    (r"\.extra_lvl_(in|out)_conv\.0\.", r".extra_\1."),
)
# Constants, and layers of NanoDet-m without use.
_UNUSED = re.compile(r"\.project$|^bbox_head\.(gfl_reg|reg_convs)\.")
_AUX = ("aux_neck.", "aux_head.")


def is_nanodet(names: Iterable[str]) -> bool:
    """Whether these are tensor names of a NanoDet, in its own or in this package's form."""
    return any(name.endswith(_ANCHOR) for name in names)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a NanoDet file this package's names; other files stay as they are.

    If the file has several copies of the network, the averaged one is used.
    """
    places = [key.removesuffix(_ANCHOR) for key in tensors if f".{key}".endswith(f".{_ANCHOR}")]
    if not places:
        return dict(tensors)
    place = averaged(places)[0]
    if len(places) > 1:
        _log(f"of the weights in {', '.join(places)}, those in {place} are used")
    found = {k.removeprefix(place): t for k, t in tensors.items() if k.startswith(place)}
    for pattern, ours in _RENAMES:
        found = {re.sub(pattern, ours, key): tensor for key, tensor in found.items()}
    return found


def fit_detector_state(
    detector: nn.Module, tensors: Mapping[str, Tensor], *, new_classes: bool = False
) -> dict[str, Tensor]:
    """Build a complete state_dict for a detector from the tensors of a file.

    A detector without auxiliary parts ignores those of the file. A detector with auxiliary parts
    keeps their weights if the file has none. If BatchNorm is folded into the convolutions, it gets
    mean 0 and variance 1, which is exact in evaluation;
    :class:`~shufflenet_det.detectors.statistics.EstimateStatistics` estimates them for training.

    Args:
        detector: A ``NanoDet`` or ``NanoDetPlus``.
        tensors: The file's tensors, by NanoDet's or this package's names.
        new_classes: Also accept weights for another number of classes; then the weights that
            compute the classes stay the detector's own.

    Raises:
        ValueError: Tensors are missing, left over or of another shape.
    """
    own = detector.state_dict()
    state = {key: t for key, t in renamed(tensors).items() if not _UNUSED.search(key)}
    has_aux = any(key.startswith(_AUX) for key in own)
    if not has_aux:
        state = {key: t for key, t in state.items() if not key.startswith(_AUX)}
    elif not any(key.startswith(_AUX) for key in state):
        state |= {key: t for key, t in own.items() if key.startswith(_AUX)}
        _log("the checkpoint has no auxiliary parts: those of the detector keep their weights")
    for conv, norm, layer in _normalised(detector):
        if f"{conv}.bias" in state and f"{norm}.running_mean" not in state:
            layers = identity_norm(state.pop(f"{conv}.bias"), layer.eps)
            state |= {f"{norm}.{leaf}": tensor for leaf, tensor in layers.items()}
    # Constants and batch counters may be missing.
    optional = (".project", "num_batches_tracked")
    state |= {key: t for key, t in own.items() if key.endswith(optional) and key not in state}
    if new_classes:
        _keep_classes(state, own)
    problems = differences(state, own, [key for key in state if key not in own])
    if problems:
        differing = [k for k in own if k not in state or state[k].shape != own[k].shape]
        advice = ""
        if differing and all(f".{_LAST}" in key for key in differing):
            advice = (
                ". To fine-tune it on other classes: "
                "model.init_cfg=dict(type='Pretrained', checkpoint=FILE)"
            )
        raise ValueError(
            f"the checkpoint ({_described(state)}) does not fit this detector "
            f"({_described(own)}); nothing was loaded. Of the detector's {len(own)} tensors: "
            f"{problems}{advice}"
        )
    return {key: state[key] for key in own}


def load_pretrained_detector(detector: nn.Module, checkpoint: str) -> None:
    """Load a whole ``NanoDet`` or ``NanoDetPlus`` from a file, or raise and change nothing.

    Args:
        detector: Its number of classes may differ from the file's.
        checkpoint: As for :func:`~shufflenet_det.weights.files.open_checkpoint`, whose errors it
            also raises.

    Raises:
        ValueError: The file has another network.
    """
    tensors = open_checkpoint(checkpoint, "model.init_cfg").tensors
    try:
        state = fit_detector_state(detector, tensors, new_classes=True)
    except ValueError as error:
        raise ValueError(f"{checkpoint!r}: {error}") from error
    detector.load_state_dict(state)
    _log(f"{type(detector).__name__}: {len(state)} of {len(state)} tensors from {checkpoint}")


def has_made_up_statistics(norm: nn.Module) -> bool:
    """Whether a BatchNorm has the statistics of a folded file: mean 0 and variance 1."""
    return (
        isinstance(norm, _BatchNorm)
        and norm.running_mean is not None
        and norm.running_var is not None
        and not norm.running_mean.any()
        and bool((norm.running_var == 1).all())
    )


def _normalised(detector: nn.Module) -> Iterator[tuple[str, str, _BatchNorm]]:
    """Each BatchNorm with the name of the convolution before it, and its own name."""
    last = ""
    for name, module in detector.named_modules():
        if isinstance(module, nn.Conv2d):
            last = name
        elif isinstance(module, _BatchNorm):
            yield last, name, module


def _keep_classes(state: dict[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """If the number of classes differs, keep the detector's weights that compute the classes."""
    kept = [
        key
        for key, mine in own.items()
        if f".{_LAST}" in key
        and key in state
        and state[key].shape[1:] == mine.shape[1:]
        and len(state[key]) != len(mine)
    ]
    for key in kept:
        its, state[key] = state[key], own[key].clone()
        if key.startswith("bbox_head."):
            boxes = _box_outputs(own)
            state[key][-boxes:] = its[-boxes:]  # the classes come first
    if kept:
        _log(
            f"the checkpoint has another number of classes: {', '.join(kept)} keep their own "
            "weights for the classes, but take the checkpoint's for the boxes"
        )


def _box_outputs(tensors: Mapping[str, Tensor]) -> int:
    return 4 * len(tensors["bbox_head.integral.project"])


def _described(tensors: Mapping[str, Tensor]) -> str:
    """Describe a NanoDet by its classes and widths."""
    last = tensors.get(f"bbox_head.{_LAST}0.weight")
    if last is None or last.dim() != 4:
        return "no NanoDet"
    stages = [tensors.get(f"backbone.stage2.0.branch{i}.{j}.weight") for i, j in ((1, 2), (2, 5))]
    widths = [len(t) for t in stages if t is not None]
    classes = len(last) - _box_outputs(tensors)
    return f"{classes} classes, {last.shape[1]} channels in the head, {sum(widths)} in stage 2"
