"""Puts a ShuffleNet into mmdet's own configs and tries them: a step of training, a prediction."""

import contextlib
import math
import multiprocessing
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..config_files import dicts_in

# What is put in: half the width, which is enough to try the rest.
BACKBONE = {"type": "shufflenet_det.ShuffleNetV2", "widen_factor": 0.5}
CHANNELS = (24, 48, 96, 192)  # of levels 0 to 3, strides 4 to 32
# Strides of a stock backbone's outputs by index; all of them are the default.
_STRIDES = {
    "CSPDarknet": {2: 8, 3: 16, 4: 32},
    "CSPNeXt": {2: 8, 3: 16, 4: 32},
    "Darknet": {3: 8, 4: 16, 5: 32},
    "EfficientNet": {3: 8, 4: 16, 5: 32},
    "HourglassNet": {0: 4},
    "MobileNetV2": {1: 4, 2: 8, 3: 16, 4: 16, 5: 32, 6: 32, 7: 32},
    "SSDVGG": {3: 8, 4: 16},
}
# Backbones that are the method itself, or what they give is no feature map of their own.
_METHODS = {
    "TridentResNet": "TridentNet is a backbone: its three branches are what there is to train",
    "DetectoRS_ResNet": "DetectoRS is a backbone: it feeds its outputs back into itself",
    "DetectoRS_ResNeXt": "DetectoRS is a backbone: it feeds its outputs back into itself",
}
# Proposals and boxes at the most, where a config says how many: enough on small images.
_MOST = {"nms_pre": 200, "max_per_img": 50, "num": 64, "num_queries": 100}
_IMAGE = (128, 160)  # height and width, unless the config has one size only

# Folders of configs that are not of 2-D detectors on their own.
_OTHER_FOLDERS = (
    *("_base_", "common", "bytetrack", "deepsort", "mask2former_vis", "masktrack_rcnn"),
    *("ocsort", "qdtrack", "reid", "sort", "strongsort"),
)

Cfg = dict[str, Any]


class NotApplicable(ValueError):
    """The config has no place for another backbone, or is not of a 2-D detector on its own."""


def put_backbone(model: Cfg) -> None:
    """Replace the backbone of a ``model`` of mmdet's, and the channels that follow from it.

    Levels are those of the strides that the stock backbone gives. ``in_channels`` of the first neck
    follow, or those of the head where there is no neck. A head that takes one map and builds on its
    channels gets them by a 1x1 convolution.

    Raises:
        NotApplicable: The detector is its backbone, or has none.
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
            if "num_feat_levels" in part:  # of an hourglass's outputs, which are alike
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
    """Strides of what a stock backbone gives, in pixels."""
    kind = backbone.get("type", "")
    if not kind:
        raise NotApplicable("the model names no backbone of mmdet's")
    if kind in _METHODS:
        raise NotApplicable(_METHODS[kind])
    indices: Any = backbone.get("out_indices")
    if kind in _STRIDES:
        return tuple(_STRIDES[kind][index] for index in indices or _STRIDES[kind])
    steps = backbone.get("strides", (1, 2, 2, 2))
    if kind.startswith("PyramidVision") or any(step not in (1, 2) for step in steps):
        steps = (1, 2, 2, 2)  # of a transformer, whose first step is the stem's
    return tuple(4 * math.prod(steps[: index + 1]) for index in indices or (0, 1, 2, 3))


def try_config(path: Path) -> dict[str, str]:
    """Build a stock config with the backbone in, train a step, predict.

    Returns:
        ``outcome``: "works", "fails", "fails with its own backbone too", "package missing" or "not
        applicable"; ``reason``: empty where it works, else one sentence.
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
    except Exception as error:  # whatever mmdet raises is the result
        # The first line of what it says, not longer than a table can show.
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
        raise NotApplicable("learns from unlabelled images too, with a detector of another family")
    if ours:
        put_backbone(model)
    size = _tidy(model, path)
    # As the config's own pipeline loads them: mmdet's RTMDet cannot train on boxes with masks.
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


def _tidy(model: Cfg, path: Path) -> tuple[int, int]:
    """Leave out downloads and work that is not needed; return the images' height and width."""
    size = _IMAGE
    folder = path.parents[2]  # in which configs/ lies
    for part in dicts_in(model):
        if part.get("type") == "SyncBN":  # needs a GPU; mmengine replaces it likewise
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
        for key, most in _MOST.items():
            if isinstance(part.get(key), int):
                part[key] = min(part[key], most)
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
    """Every config of a 2-D detector that mmdet's wheel ships, by family, short names first.

    Raises:
        FileNotFoundError: mmdet is not installed, or came without its configs.
    """
    import mmdet

    folder = Path(mmdet.__file__).parent / ".mim" / "configs"
    found = [path for path in folder.glob("*/*.py") if path.parent.name not in _OTHER_FOLDERS]
    if not found:
        raise FileNotFoundError(f"mmdet came without its configs: there are none in {folder}")
    return sorted(found, key=lambda path: (path.parent.name, len(path.name), path.name))


def representatives(configs: Iterable[Path]) -> list[Path]:
    """Of each family the config with most that no family before it has, and whatever adds a module.

    So every family, and every type of module in any model, is there at least once.
    """
    families: dict[str, dict[Path, set[str]]] = {}
    for path in configs:
        families.setdefault(path.parent.name, {})[path] = _module_types(path)
    chosen: list[Path] = []
    seen: set[str] = set()
    for members in families.values():
        new: set[str] | None = None
        while members and new != set():
            best = max(members, key=lambda path: len(members[path] - seen))
            if (members[best] - seen) or new is None:
                chosen.append(best)
            new = members.pop(best) - seen
            seen |= new
    return chosen


def _module_types(path: Path) -> set[str]:
    """Types of the modules that a config's model is built of, but for its backbone's."""
    from mmengine.config import Config

    model: Cfg = {}
    with contextlib.suppress(Exception):  # trying it will say why
        model = dict(Config.fromfile(path).get("model") or {})
    model.pop("backbone", None)
    return {str(part["type"]) for part in dicts_in(model) if "type" in part}


def check(configs: Iterable[Path], timeout: float) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Try configs one after another in another process, which is started anew where it ends.

    Yields:
        A path, and ``outcome``, ``reason`` and ``seconds``, which are at most ``timeout``.
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
    """Try each config whose path comes through a pipe; whatever mmdet prints is not shown."""
    import torch
    import torch.distributed as dist

    import shufflenet_det  # noqa: F401  # makes mmdet importable

    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # MMSyncBN asks for a process group.
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    while True:
        path = pipe.recv()
        started = time.monotonic()
        answer = try_config(path)
        pipe.send({**answer, "seconds": round(time.monotonic() - started, 1)})
