"""What a config needs where it names published weights."""

import logging
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from mmengine.logging import print_log

from .files import open_checkpoint
from .layouts import OURS, Pixels
from .nanodet import is_nanodet
from .recognition import recognise
from .records import Record, find_record


def fit_data_preprocessor(model: MutableMapping[str, Any]) -> Pixels | None:
    """Give a detector the images that its backbone's published weights were trained on.

    Args:
        model: The ``model`` of an mmdet config. If its ``backbone.init_cfg`` names a known record
            (by name, URL, mmengine's name or file name) and its ``data_preprocessor`` states none
            of ``mean``, ``std``, ``bgr_to_rgb`` and ``rgb_to_bgr``, these are set in place; where
            it states other images, a warning names both.

    Returns:
        What the weights were trained on; None if the config names no known record.
    """
    record = _record(model.get("backbone") or {})
    if record is None:
        return None
    fitting = record.pixels.data_preprocessor()
    stated = model.get("data_preprocessor") or {}
    if not {*fitting, "rgb_to_bgr"}.intersection(stated):
        model["data_preprocessor"] = {"type": "DetDataPreprocessor", **stated, **fitting}
        return record.pixels
    actual = Pixels.of(stated)
    if actual != record.pixels:
        print_log(
            f"data_preprocessor has {actual.data_preprocessor()}, and the backbone's weights "
            f"({record.name}) were trained on {fitting}",
            logger="current",
            level=logging.WARNING,
        )
    return record.pixels


def redirect_load_from(cfg: MutableMapping[str, Any]) -> bool:
    """Let ``load_from`` of a backbone's published weights initialise the backbone.

    mmengine fits ``load_from`` to the whole detector by names, of which a published classifier
    has none.

    Args:
        cfg: A whole mmdet config. Where its ``load_from`` is not a detector of this package,
            ``model.backbone.init_cfg`` takes it over and ``load_from`` becomes None. A NanoDet
            file's whole detector initialises a NanoDet, its classes may be others.

    Returns:
        Whether it did.

    Raises:
        OSError, ImportError, ValueError: The file cannot be had or opened; see
            :func:`~shufflenet_det.weights.files.open_checkpoint`.
    """
    name = cfg.get("load_from")
    if not name:
        return False
    opened = open_checkpoint(name)
    if str(cfg["model"]["type"]).endswith(("NanoDet", "NanoDetPlus")) and is_nanodet(
        opened.tensors
    ):
        cfg["model"]["init_cfg"] = {"type": "Pretrained", "checkpoint": name}
        cfg["load_from"] = None
        return True
    weights = recognise(opened)
    if weights is None or (weights.layout in OURS.values() and _is_detector(opened.tensors)):
        return False
    cfg["model"]["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": name}
    cfg["load_from"] = None
    return True


def _is_detector(names: Iterable[str]) -> bool:
    heads = ("neck.", "bbox_head.", "rpn_head.", "roi_head.", "mask_head.")
    return any(name.removeprefix("module.").startswith(heads) for name in names)


def _record(backbone: Mapping[str, Any]) -> Record | None:
    init_cfg = backbone.get("init_cfg") or []
    for cfg in [init_cfg] if isinstance(init_cfg, Mapping) else init_cfg:
        if isinstance(cfg.get("checkpoint"), str):
            return find_record(cfg["checkpoint"])
    return None
