"""The description of an exported detector: its preprocessing and its non-maximum suppression.

Every exported file contains the dict of :func:`describe` as JSON, in its metadata or in a file
beside it. The runtime knows nothing else about the detector:

- ``classes``: names, in the order of the labels;
- ``input``: ``resize`` is 'stretch' (to ``height`` x ``width``), 'keep' (the ratio, within
  ``scale``: long side, short side) or 'warp' (to ``height`` x ``width``, pixel (0, 0) to pixel
  (0, 0); with ``keep_ratio`` centred on black). ``channels`` is the network's order, 'RGB' or
  'BGR', also of ``mean`` and ``std`` (for values of 0 to 255). The image is padded with
  ``pad_value`` to a multiple of ``pad_divisor`` after normalisation;
- ``nms_pre``, ``score_threshold``, ``iou_threshold``, ``max_boxes``, ``min_box_size``;
- ``versions`` of the packages that wrote the file.
"""

from importlib import metadata
from typing import Any

from mmengine.config import Config

from ..version import __version__

Spec = dict[str, Any]
# Transforms that do not change an image.
_IDLE = ("LoadImageFromFile", "LoadAnnotations", "PackDetInputs")
_ALL = 100_000  # configs with a limit this high mean: no limit


def describe(cfg: Config, model: Any, classes: list[str]) -> Spec:
    """Describe a detector from its config and the names of its classes, in the order of labels.

    Raises:
        ValueError: The test pipeline or the NMS cannot be exported.
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
    """The NMS of a head's ``test_cfg``; ValueError if it is not plain NMS within each class."""
    nms = test_cfg.nms
    kind = nms.get("type", "nms")
    if kind != "nms" or nms.get("class_agnostic", False):
        raise ValueError(f"test_cfg.nms={dict(nms)} cannot be exported: use nms within each class")
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
                f"the test pipeline of {cfg.filename} has {name}, which cannot be exported: use "
                "one Resize or WarpResize with a scale and no other transform"
            )
    if not resize:
        raise ValueError(f"the test pipeline of {cfg.filename} has no Resize with a scale")
    preprocessor = cfg.model.data_preprocessor
    return {
        **resize,
        "channels": "RGB" if preprocessor.get("bgr_to_rgb") else "BGR",
        "mean": [float(value) for value in preprocessor.get("mean") or (0, 0, 0)],
        "std": [float(value) for value in preprocessor.get("std") or (1, 1, 1)],
        "pad_divisor": int(preprocessor.get("pad_size_divisor", 1)),
        "pad_value": float(preprocessor.get("pad_value", 0)),
    }
