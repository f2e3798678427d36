"""An mmdet detector as plain modules that every exporter can trace."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .runtime.decode import boxes_from_deltas, decode_level

Level = dict[str, Any]


class DenseNetwork(nn.Module):
    """Backbone, neck and dense head. The boxes are those of the head's own ``predict``.

    ``levels`` describes the regressions of each level for
    :func:`~shufflenet_det.deploy.runtime.decode.decode_level`.
    """

    def __init__(self, detector: Any, head: Any, *, raw: bool = False) -> None:
        """Take the parts of a detector; ``head`` is its dense head or its RPN.

        With ``raw``, the network returns regressions instead of boxes. Raises ValueError if the
        head cannot be exported.
        """
        super().__init__()
        self.backbone = detector.backbone
        self.neck = detector.neck if getattr(detector, "with_neck", False) else None
        self.head = head
        self.raw = raw
        self.thin_conv = getattr(getattr(detector, "roi_head", None), "thin_conv", None)
        self.levels = head_levels(head)
        self.sigmoid = bool(getattr(head, "use_sigmoid_cls", True))
        self.channels = int(head.cls_out_channels)

    def maps(self, x: Tensor) -> tuple[Any, Any, Any]:
        """The neck's maps, the head's score maps and its regression maps, one for each level."""
        feats = self.backbone(x)
        if self.neck is not None:
            feats = self.neck(feats)
        return (feats, *self.head(feats)[:2])

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], tuple[Tensor, ...]]:
        """Compute scores and boxes.

        Args:
            x: A normalised image, (1, 3, H, W).

        Returns:
            Scores of each level, (n_i, classes); boxes or regressions of each level, (n_i, …); and
            the maps for RoI pooling: the neck's, or the thin map of Light-Head R-CNN.
        """
        feats, *outs = self.maps(x)
        scores, boxes = [], []
        for level, cls, regression in zip(self.levels, *outs, strict=True):
            height, width = cls.shape[-2:]
            cls = cls.float().permute(0, 2, 3, 1).reshape(-1, self.channels)
            scores.append(cls.sigmoid() if self.sigmoid else cls.softmax(-1)[:, :-1])
            size = 4 * level.get("bins", 1)
            regression = regression.float().permute(0, 2, 3, 1).reshape(-1, size)
            if not self.raw:
                regression = decode_level(level, regression, height, width, torch)
            boxes.append(regression)
        if self.thin_conv is not None:
            feats = (self.thin_conv(feats[-1]),)
        return scores, boxes, feats


class RoINetwork(nn.Module):
    """The second stage of a detector, after RoI pooling."""

    def __init__(self, roi_head: Any) -> None:
        """Take the parts of an RoI head."""
        super().__init__()
        self.shared_head = roi_head.shared_head if roi_head.with_shared_head else None
        self.head = roi_head.bbox_head
        self.coder = coder_of(self.head.bbox_coder)
        self.classes = int(self.head.num_classes)
        self.regressions = 1 if self.head.reg_class_agnostic else self.classes

    def forward(self, x: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """Compute scores and boxes.

        Args:
            x: Pooled RoIs, (n, C, P, P).
            rois: Their corners, (n, 4).

        Returns:
            Scores, (n, classes), and boxes, (n, classes, 4) or (n, 1, 4).
        """
        if self.shared_head is not None:
            x = self.shared_head(x)
        cls, deltas = self.head(x)
        scores = cls.float().softmax(-1)[:, :-1]
        deltas = deltas.float().reshape(-1, self.regressions, 4)
        return scores, boxes_from_deltas(rois[:, None], deltas, self.coder, torch)


def head_levels(head: Any) -> list[Level]:
    """Describe the regressions of each level; ValueError if the head cannot be exported."""
    from mmdet.models.dense_heads import AnchorHead, GFLHead
    from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder

    coder = getattr(head, "bbox_coder", None)
    levels: list[Level] = []
    if isinstance(head, AnchorHead) and type(coder) is DeltaXYWHBBoxCoder:
        anchors = head.prior_generator.base_anchors
        of_coder = {"kind": "anchors", **coder_of(coder)}
        levels = [{**of_coder, "anchors": of_level.tolist()} for of_level in anchors]
    elif isinstance(head, GFLHead):
        of_head = {"kind": "points", "bins": int(head.reg_max) + 1}
        offsets = _point_offsets(head.prior_generator)
        levels = [{**of_head, "offset": offset} for offset in offsets]
    if levels:
        strides = [[int(side) for side in stride] for stride in head.prior_generator.strides]
        return [{**level, "stride": stride} for level, stride in zip(levels, strides, strict=True)]
    raise ValueError(
        f"{type(head).__name__} cannot be exported: use the head of SSD, SSDLite, RetinaNet, "
        "Faster R-CNN, Light-Head R-CNN or NanoDet"
    )


def _point_offsets(generator: Any) -> list[float]:
    """The offset of each level's points from their cell's corner, in strides."""
    if not hasattr(generator, "base_anchors"):
        return [float(generator.offset)] * len(generator.strides)
    offsets = []
    for (side, _), anchors in zip(generator.strides, generator.base_anchors, strict=True):
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2 / side
        if len(centres) != 1 or centres[0, 0] != centres[0, 1]:
            raise ValueError("a GFL head with several points in a cell cannot be exported")
        offsets.append(float(centres[0, 0]))
    return offsets


def coder_of(coder: Any) -> dict[str, Any]:
    """The parameters of a box coder; ValueError if it clamps centres, as only YOLOF's does."""
    if coder.add_ctr_clamp:
        raise ValueError("a bbox_coder with add_ctr_clamp=True cannot be exported")
    return {
        "means": list(coder.means),
        "stds": list(coder.stds),
        "clip": abs(math.log(16 / 1000)),
    }
