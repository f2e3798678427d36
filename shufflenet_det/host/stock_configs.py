"""Try mmdet's own configs with a ShuffleNet backbone: a training step and a prediction."""

import contextlib
import math
import multiprocessing
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from ..config_files import dicts_in

# Half the width, because only the rest of the detector is tested.
BACKBONE = {"type": "shufflenet_det.ShuffleNetV2", "widen_factor": 0.5}
CHANNELS = (24, 48, 96, 192)  # of levels 0 to 3, strides 4 to 32
# Strides of the outputs of mmdet's backbones by index; without out_indices, all are used.
_STRIDES = {
    "CSPDarknet": {2: 8, 3: 16, 4: 32},
    "CSPNeXt": {2: 8, 3: 16, 4: 32},
    "Darknet": {3: 8, 4: 16, 5: 32},
    "EfficientNet": {3: 8, 4: 16, 5: 32},
    "HourglassNet": {0: 4},
    "MobileNetV2": {1: 4, 2: 8, 3: 16, 4: 16, 5: 32, 6: 32, 7: 32},
    "SSDVGG": {3: 8, 4: 16},
}
# Upper limits for the numbers of proposals and boxes in a config, enough for small images.
_LIMITS = {"nms_pre": 200, "max_per_img": 50, "num": 64, "num_queries": 100}
_IMAGE = (128, 160)  # height and width, unless the config has one size only

# Folders of configs that are not for 2-D detectors.
_OTHER_FOLDERS = (
    "_base_ bytetrack common deepsort mask2former_vis masktrack_rcnn ocsort qdtrack reid sort "
    "strongsort"
).split()

Cfg = dict[str, Any]


class NotApplicable(ValueError):
    """The backbone of the config cannot be replaced, or the config is not for a 2-D detector."""


def put_backbone(model: Cfg) -> None:
    """Replace the backbone of an mmdet ``model``, and adapt the channels.

    The new backbone outputs levels with the strides of the original one. ``in_channels`` of the
    first neck, or of the heads without a neck, are adapted. A head that takes a single map gets its
    channels from an additional 1x1 convolution.

    Raises:
        NotApplicable: The detection method is the backbone, or there is no backbone.
    """
    strides = _strides(model.get("backbone") or {})
    levels = [int(math.log2(stride)) - 2 for stride in strides]
    channels = [CHANNELS[level] for level in levels]
    model["backbone"] = {**BACKBONE, "out_indices": tuple(levels)}
    neck = model.get("neck")
    first = neck[0] if isinstance(neck, list) else neck
    heads = [value for key, value in model.items() if key.endswith("_head") and value]
    if first is None and len(channels) == 1:
        head = model["rpn_head"] if model.get("rpn_head") else model["bbox_head"]
        model["neck"] = {
            "type": "ChannelMapper",
            "in_channels": channels,
            "out_channels": head["in_channels"],
            "kernel_size": 1,
            "num_outs": 1,
        }
        for part in heads:
            if "num_feat_levels" in part:  # the equal outputs of an hourglass
                part["num_feat_levels"] = 1
        return
    if first is None:
        for part in heads:
            if isinstance(part.get("in_channels"), list):
                part["in_channels"] = channels
        return
    if first["type"] == "SSDNeck":
        for part, key in ((first, "out_channels"), (model["bbox_head"], "in_channels")):
            part[key] = [*channels, *part[key][len(channels) :]]
    given = first["in_channels"]
    if isinstance(given, int):
        first["in_channels"] = channels[-1]
    else:
        first["in_channels"] = channels if list(given) == sorted(given) else channels[::-1]


def _strides(backbone: Cfg) -> tuple[int, ...]:
    """Strides of the outputs of mmdet's backbone, in pixels."""
    kind = backbone.get("type", "")
    if not kind:
        raise NotApplicable("the model has no backbone")
    if kind.startswith(("DetectoRS", "Trident")):
        raise NotApplicable(f"the backbone {kind} is the detection method itself")
    indices: Any = backbone.get("out_indices")
    if kind in _STRIDES:
        return tuple(_STRIDES[kind][index] for index in indices or _STRIDES[kind])
    steps = backbone.get("strides", (1, 2, 2, 2))
    if kind.startswith("PyramidVision") or any(step not in (1, 2) for step in steps):
        steps = (1, 2, 2, 2)  # of a transformer, whose first stride is the stem's
    return tuple(4 * math.prod(steps[: index + 1]) for index in indices or (0, 1, 2, 3))


def try_config(path: Path) -> dict[str, str]:
    """Build a config of mmdet with our backbone, train one step, and predict.

    Returns:
        ``outcome``: "works", "fails", "fails with its own backbone too", "package missing" or "not
        applicable"; ``reason``: one sentence, or empty if the config works.
    """
    outcome, reason = _outcome(path, ours=True)
    if outcome == "fails" and _outcome(path, ours=False) == (outcome, reason):
        outcome = "fails with its own backbone too"
    return {"outcome": outcome, "reason": reason}


def _outcome(path: Path, ours: bool) -> tuple[str, str]:
    try:
        _try(path, ours)
    except NotApplicable as error:
        return "not applicable", str(error)
    except Exception as error:  # any error of mmdet is a result
        # The first line of the message, shortened for the table.
        lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
        said = lines[0].split(", the current sys.path")[0][:160] if lines else ""
        reason = ": ".join(filter(None, (type(error).__name__, said)))
        if isinstance(error, ImportError) or re.search(r"pip install|not installed", str(error)):
            return "package missing", reason
        return "fails", reason
    return "works", ""


def _try(path: Path, ours: bool) -> None:
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import init_default_scope

    config = Config.fromfile(path)
    model = config.get("model")
    if model is None:
        raise NotApplicable("a part of other configs, without a model")
    if model["type"] == "Detectron2Wrapper":
        raise NotApplicable("a detector of Detectron2")
    if "detector" in model:
        raise NotApplicable("semi-supervised training of another family's detector")
    if ours:
        put_backbone(model)
    size = _reduce(model, path)
    # Only with masks in the config's pipeline, because mmdet's RTMDet fails on boxes with masks.
    masks = any(part.get("with_mask") for part in dicts_in(config.to_dict()))
    init_default_scope("mmdet")
    MMLogger.get_current_instance().setLevel("ERROR")
    torch.manual_seed(0)
    progress = {"iter": 0, "epoch": 0, "max_iters": 100, "max_epochs": 10}
    MessageHub.get_instance("stock_configs").update_info_dict(progress)
    network = MODELS.build(model)
    network.init_weights()
    _train_a_step(network, _batch(model, size, 2, masks))
    _predict(network, _batch(model, size, 1, masks))


def _reduce(model: Cfg, path: Path) -> tuple[int, int]:
    """Remove downloads and unnecessary work; return height and width of the images."""
    size = _IMAGE
    folder = path.parents[2]  # the folder that contains configs/
    for part in dicts_in(model):
        if part.get("type") == "SyncBN":  # SyncBN needs a GPU; mmengine replaces it in the same way
            part["type"] = "BN"
        if isinstance(part.get("init_cfg"), dict) and part["init_cfg"].get("type") == "Pretrained":
            part["init_cfg"] = None
        if "teacher_ckpt" in part:
            part["teacher_ckpt"] = None
        if "teacher_config" in part:
            part["teacher_config"] = str(folder / part["teacher_config"])
        if str(part.get("type")).endswith("SSDAnchorGenerator"):
            size = (part["input_size"],) * 2
        if "score_thr" in part:  # random weights give low scores
            part["score_thr"] = min(part["score_thr"], 0.001)
        for key, limit in _LIMITS.items():
            if isinstance(part.get(key), int):
                part[key] = min(part[key], limit)
    preprocessor = model.get("data_preprocessor") or {}
    preprocessor["batch_augments"] = None  # pads to 1024 pixels
    return size


def _batch(model: Cfg, size: tuple[int, int], images: int, masks: bool) -> dict[str, Any]:
    """Random images with boxes, masks, semantic classes and proposals."""
    from mmdet.testing import demo_mm_inputs, demo_mm_proposals

    classes = [part["num_classes"] for part in dicts_in(model) if "num_classes" in part]
    fused = any(part.get("type") == "FusedSemanticHead" for part in dicts_in(model))
    shapes = [(3, *size)] * images
    most, stride = min([80, *classes]), 8 if fused else 1
    options = {"with_mask": masks, "with_semantic": True}
    batch = demo_mm_inputs(images, shapes, [3, 4][:images], max(2, most), stride, **options)
    proposals = demo_mm_proposals(shapes, 50)
    for sample, of_image in zip(batch["data_samples"], proposals, strict=True):
        sample.proposals = of_image
        sample.gt_instances.labels.clamp_(max=most - 1)
        sample.set_metainfo({"pad_shape": size, "batch_input_shape": size})
    return batch


def _train_a_step(network: Any, batch: dict[str, Any]) -> None:
    import torch

    network.train()
    batch = network.data_preprocessor(batch, True)
    loss, _ = network.parse_losses(network.loss(batch["inputs"], batch["data_samples"]))
    if not loss.isfinite():
        raise ArithmeticError(f"the loss is {float(loss.detach())}")
    loss.backward()
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise ArithmeticError(f"the gradient of {name} is not finite")
        if name.startswith("backbone.") and parameter.requires_grad and parameter.grad is None:
            raise ArithmeticError(f"{name} gets no gradient")
    torch.optim.SGD(network.parameters(), lr=1e-5).step()


def _predict(network: Any, batch: dict[str, Any]) -> None:
    import torch

    network.eval()
    batch = network.data_preprocessor(batch, False)
    with torch.no_grad():
        for sample in network.predict(batch["inputs"], batch["data_samples"]):
            for key, tensor in sample.get("pred_instances", {}).items():
                if isinstance(tensor, torch.Tensor) and not tensor.float().isfinite().all():
                    raise ArithmeticError(f"predicted {key} are not finite")


def all_configs() -> list[Path]:
    """All configs of 2-D detectors in mmdet's wheel, by family, short names first.

    Raises:
        FileNotFoundError: mmdet was installed without its configs.
    """
    import mmdet

    folder = Path(mmdet.__file__).parent / ".mim" / "configs"
    found = [path for path in folder.glob("*/*.py") if path.parent.name not in _OTHER_FOLDERS]
    if not found:
        raise FileNotFoundError(f"mmdet was installed without its configs: {folder} has none")
    return sorted(found, key=lambda path: (path.parent.name, len(path.name), path.name))


def representatives(configs: Iterable[Path]) -> list[Path]:
    """Select configs so that each family and each type of module occurs at least once.

    In each family, the next config is the one with the most types that were not selected before.
    """
    chosen: list[Path] = []
    seen: set[str] = set()
    for _, family in groupby(configs, key=lambda path: path.parent.name):
        types = {path: _module_types(path) for path in family}
        selected: list[Path] = []
        while types:
            best = max(types, key=lambda path: len(types[path] - seen))
            new = types.pop(best) - seen
            if selected and not new:
                break
            selected.append(best)
            seen |= new
        chosen += selected
    return chosen


def _module_types(path: Path) -> set[str]:
    """The types of modules in the model of a config, without the backbone's."""
    from mmengine.config import Config

    model: Cfg = {}
    with contextlib.suppress(Exception):  # try_config reports the error
        model = dict(Config.fromfile(path).get("model") or {})
    model.pop("backbone", None)
    return {str(part["type"]) for part in dicts_in(model) if "type" in part}


def check(configs: Iterable[Path], timeout: float) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Try configs one by one in a subprocess, which is restarted if it dies or takes too long.

    Yields:
        A path, and the outcome: ``outcome`` and ``reason`` of :func:`try_config`, and ``seconds``.
    """
    context = multiprocessing.get_context("spawn")
    worker = None
    try:
        for path in configs:
            if worker is None:
                pipe, other = context.Pipe()
                worker = context.Process(target=_serve, args=[other], daemon=True)
                worker.start()
                other.close()
            try:
                pipe.send(path)
                reason = "" if pipe.poll(timeout) else f"not done after {timeout:g} seconds"
                answer = {} if reason else pipe.recv()
            except (EOFError, OSError):
                worker.join()
                reason = f"the process ended with status {worker.exitcode}"
            if reason:
                worker.kill()
                worker = None
                answer = {"outcome": "fails", "reason": reason, "seconds": timeout}
            yield path, answer
    finally:
        if worker is not None:
            worker.kill()


def _serve(pipe: Any) -> None:
    """Try each config whose path arrives through a pipe, without mmdet's output."""
    import torch
    import torch.distributed as dist

    import shufflenet_det  # noqa: F401  # makes mmdet importable

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # MMSyncBN needs a process group.
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    while True:
        path = pipe.recv()
        started = time.monotonic()
        answer = try_config(path)
        pipe.send({**answer, "seconds": round(time.monotonic() - started, 1)})
