"""A detector as data: how its images are made and its boxes are found.

The dict that :func:`describe` returns stands as JSON in the metadata of every exported file, or in
a file beside it, and is all that the runtime knows:

- ``classes``: names, in the order of the labels;
- ``input``: ``resize`` 'stretch' to ``height`` x ``width``; 'keep' the ratio within ``scale`` (long
  side, short side); or 'warp' to ``height`` x ``width``, pixel (0, 0) upon pixel (0, 0), with
  ``keep_ratio`` in the middle of black. ``channels`` that the network reads, 'RGB' or 'BGR';
  ``mean`` and ``std`` in that order, of 0 to 255; ``pad_divisor`` and ``pad_value`` (after
  normalisation);
- ``nms_pre``, ``score_threshold``, ``iou_threshold``, ``max_boxes``, ``min_box_size``;
- ``versions`` of what made the file.
"""

from importlib import metadata
from typing import Any

from mmengine.config import Config

from ..version import __version__

Spec = dict[str, Any]
# Transforms that do not change an image that is given.
_IDLE = ("LoadImageFromFile", "LoadAnnotations", "PackDetInputs")
_ALL = 100_000  # a limit of boxes as high as this is none


def describe(cfg: Config, model: Any, classes: list[str]) -> Spec:
    """The description of a detector, of its config and the names of its labels, in their order.

    Raises:
        ValueError: The test pipeline, or what removes boxes, is none that can be exported.
    """
    two_stage = hasattr(model, "roi_head")
    test_cfg = model.test_cfg.rcnn if two_stage else model.test_cfg
    return {
        "format": 1,
        "detector": type(model).__name__,
        "classes": classes,
        "input": _input(cfg),
        **suppression(test_cfg),
        "versions": {
            "shufflenet_det": __version__,
            **{name: metadata.version(name) for name in ("torch", "mmdet")},
        },
    }


def suppression(test_cfg: Any) -> Spec:
    """What removes boxes, of a head's ``test_cfg``; ValueError if it is not plain NMS."""
    nms = test_cfg.nms
    kind = nms.get("type", "nms")
    if kind != "nms" or nms.get("class_agnostic", False):
        raise ValueError(f"test_cfg.nms={dict(nms)}: only nms within each class can be exported")
    nms_pre = int(test_cfg.get("nms_pre", -1))
    return {
        "nms_pre": nms_pre if nms_pre < _ALL else -1,
        "score_threshold": float(test_cfg.get("score_thr", 0.0)),
        "iou_threshold": float(nms.iou_threshold),
        "max_boxes": int(test_cfg.max_per_img),
        "min_box_size": float(test_cfg.get("min_bbox_size", -1)),
    }


def _input(cfg: Config) -> Spec:
    dataset = cfg.test_dataloader.dataset
    while "pipeline" not in dataset and "dataset" in dataset:
        dataset = dataset.dataset
    resize: Spec = {}
    for transform in dataset.pipeline:
        name = transform["type"].split(".")[-1]
        if name in ("Resize", "WarpResize") and not resize and "scale" in transform:
            width, height = (int(side) for side in transform["scale"])
            keep_ratio = bool(transform.get("keep_ratio"))
            resize = {"resize": "stretch", "height": height, "width": width}
            if name == "WarpResize":
                resize |= {"resize": "warp", "keep_ratio": keep_ratio}
            elif keep_ratio:
                resize = {"resize": "keep", "scale": [max(width, height), min(width, height)]}
        elif name not in _IDLE:
            raise ValueError(
                f"the test pipeline of {cfg.filename} has {name}: a model can be exported whose "
                "images pass through one Resize or WarpResize with a scale and nothing else"
            )
    if not resize:
        raise ValueError(f"the test pipeline of {cfg.filename} has no Resize with a scale")
    made = cfg.model.data_preprocessor
    return {
        **resize,
        "channels": "RGB" if made.get("bgr_to_rgb") else "BGR",
        "mean": [float(value) for value in made.get("mean") or (0, 0, 0)],
        "std": [float(value) for value in made.get("std") or (1, 1, 1)],
        "pad_divisor": int(made.get("pad_size_divisor", 1)),
        "pad_value": float(made.get("pad_value", 0)),
    }
