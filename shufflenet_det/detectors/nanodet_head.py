"""The heads of NanoDet and NanoDet-Plus (github.com/RangiLyu/nanodet, ``nanodet/model/head``)."""

from typing import Any

import torch
from mmcv.cnn import DepthwiseSeparableConvModule
from mmdet.models.dense_heads import GFLHead
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..backbones.layers import Cfg, activation
from .ghost_pan import LEAKY, NORM

Maps = list[Tensor]
DEFAULTS: Cfg = {
    "stacked_convs": 2,
    "reg_max": 7,
    "norm_cfg": NORM,
    "loss_cls": {"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0},
    "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
}


class NanoDetHead(GFLHead):
    """NanoDet's head: mmdet's GFL head with light, separate layers for every level.

    Each level has depthwise-separable convolutions and one 1x1 convolution to the scores and the
    distributions of the four distances. Anchors, ATSS and losses are ``GFLHead``'s. One difference
    to NanoDet remains: the sum of the weights of the boxes, the divisor of their losses, is at
    least 1.
    """

    def __init__(
        self, num_classes: int, in_channels: int, kernel_size: int = 3, **kwargs: Any
    ) -> None:
        """Build the layers with ``in_channels`` each; ``kernel_size`` is for depthwise ones.

        ``kwargs`` are those of mmdet's ``GFLHead``, with NanoDet's defaults (``DEFAULTS``).
        """
        self.kernel_size = kernel_size
        super().__init__(
            num_classes, in_channels, feat_channels=in_channels, **{**DEFAULTS, **kwargs}
        )

    def _init_layers(self) -> None:
        channels, kernel = self.feat_channels, self.kernel_size

        def conv() -> nn.Module:
            return DepthwiseSeparableConvModule(
                channels,
                channels,
                kernel,
                padding=kernel // 2,
                norm_cfg=self.norm_cfg,
                act_cfg=LEAKY,
            )

        levels = range(self.prior_generator.num_levels)
        self.cls_convs = nn.ModuleList(
            nn.Sequential(*(conv() for _ in range(self.stacked_convs))) for _ in levels
        )
        outputs = self.cls_out_channels + 4 * (self.reg_max + 1)
        self.gfl_cls = nn.ModuleList(nn.Conv2d(channels, outputs, 1) for _ in levels)

    def forward(self, x: tuple[Tensor, ...]) -> tuple[Maps, Maps]:
        """Compute the logits of every level from maps (N, in_channels, H_i, W_i).

        Returns those of the classes, (N, classes, H_i, W_i), and those of the distances left, top,
        right, bottom, (N, 4 * (reg_max + 1), H_i, W_i).
        """
        outs = [
            last(convs(level))
            for level, convs, last in zip(x, self.cls_convs, self.gfl_cls, strict=True)
        ]
        sizes = self.cls_out_channels, 4 * (self.reg_max + 1)
        scores, distances = zip(*(out.split(sizes, dim=1) for out in outs), strict=True)
        return list(scores), list(distances)

    def _bbox_post_process(
        self, results: InstanceData, *args: Any, img_meta: dict[str, Any], **kwargs: Any
    ) -> InstanceData:
        """Undo the padding of ``WarpResize``, clip the boxes to the image, then do as mmdet."""
        left, top = img_meta.get("pad_offset", (0, 0))
        height, width = img_meta["img_shape"][:2]
        boxes = results.bboxes  # (n, 4), of the padded image
        boxes -= boxes.new_tensor([left, top, left, top])
        boxes[:, 0::2].clamp_(0, width - 2 * left)
        boxes[:, 1::2].clamp_(0, height - 2 * top)
        return super()._bbox_post_process(results, *args, img_meta=img_meta, **kwargs)


class NanoDetPlusHead(NanoDetHead):
    """NanoDet-Plus's head: points instead of anchors, and dynamic soft label assignment.

    Points are at whole multiples of the stride. The predictions of the auxiliary head, if there are
    any, choose the positive points and their quality for both heads; otherwise this head's do.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        kernel_size: int = 5,
        strides: tuple[int, ...] = (8, 16, 32, 64),
        **kwargs: Any,
    ) -> None:
        """Build the layers as in :class:`NanoDetHead`; ``strides``: those of the maps, in pixels.

        ``train_cfg.assigner`` is mmdet's ``DynamicSoftLabelAssigner``. Its ``soft_center_radius``
        must be so large that the centre distance, which NanoDet does not use, has no influence.
        """
        points = {"type": "MlvlPointGenerator", "strides": list(strides), "offset": 0}
        super().__init__(num_classes, in_channels, kernel_size, anchor_generator=points, **kwargs)

    def anchor_center(self, anchors: Tensor) -> Tensor:
        """Return the points, (n, 2), which are their own centres."""
        return anchors

    def loss_by_feat(  # type: ignore[override]
        self,
        cls_scores: Maps,
        bbox_preds: Maps,
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict[str, Any]],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
        aux: tuple[Maps, Maps] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses of this head, and of the auxiliary head on the same targets.

        ``aux`` are the logits of the auxiliary head. Crowds are background, as in NanoDet. Returns
        ``loss_cls``, ``loss_bbox``, ``loss_dfl``, and the same of the auxiliary head as ``aux_…``.
        """
        sizes = [scores.shape[2:] for scores in cls_scores]
        points = torch.cat(
            self.prior_generator.grid_priors(sizes, device=cls_scores[0].device, with_stride=True)
        )[:, :3]  # (P, 3): x, y, stride
        predictions = self._flat(cls_scores, bbox_preds, points)
        aux_predictions = self._flat(*aux, points) if aux else None
        logits, _, boxes = (p.detach() for p in aux_predictions or predictions)
        targets = [
            self._assign(points, *of_image)
            for of_image in zip(logits, boxes, batch_gt_instances, strict=True)
        ]
        labels, qualities, gt_boxes = (torch.cat(t) for t in zip(*targets, strict=True))
        points = points.repeat(len(targets), 1)  # (N * P, 3)
        losses = self._losses(*predictions, points, labels, qualities, gt_boxes)
        if aux_predictions:
            of_aux = self._losses(*aux_predictions, points, labels, qualities, gt_boxes)
            losses |= {f"aux_{name}": loss for name, loss in of_aux.items()}
        return losses

    def _flat(
        self, cls_scores: Maps, bbox_preds: Maps, points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, P, classes) and (N, P, 4 * (reg_max + 1)), and boxes (N, P, 4) in pixels."""
        logits, bins = (
            torch.cat([level.flatten(2) for level in levels], dim=2).transpose(1, 2)
            for levels in (cls_scores, bbox_preds)
        )
        # Boxes and losses in float32 under autocast too: bfloat16 rounds a side of 300 to 2 pixels.
        with torch.autocast(logits.device.type, enabled=False):
            logits, bins = logits.to(points.dtype), bins.to(points.dtype)
            distances = self.integral(bins).reshape(*bins.shape[:2], 4) * points[:, 2:]
        centres = points[:, :2].expand(len(bins), -1, -1)
        return logits, bins, self.bbox_coder.decode(centres, distances)

    @torch.no_grad()
    def _assign(
        self, points: Tensor, logits: Tensor, boxes: Tensor, gt: InstanceData
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The label (background: num_classes), IoU and annotated box of one image's points."""
        predicted = InstanceData(priors=points, scores=logits, bboxes=boxes)
        result = self.assigner.assign(predicted, gt)
        positive = result.gt_inds > 0
        labels = torch.where(positive, result.labels, self.num_classes)
        qualities = torch.where(positive, result.max_overlaps, 0)
        gt_boxes = torch.zeros_like(boxes)
        gt_boxes[positive] = gt.bboxes[result.gt_inds[positive] - 1]
        return labels, qualities, gt_boxes

    def _losses(
        self,
        logits: Tensor,
        bins: Tensor,
        boxes: Tensor,
        points: Tensor,
        labels: Tensor,
        qualities: Tensor,
        gt_boxes: Tensor,
    ) -> dict[str, Tensor]:
        logits, bins, boxes = (t.flatten(0, 1) for t in (logits, bins, boxes))  # (N * P, …)
        positive = labels < self.num_classes
        count = reduce_mean(positive.sum().float()).clamp(min=1)
        loss_cls = self.loss_cls(logits, (labels, qualities), avg_factor=count)
        bins, boxes, gt_boxes, points = (t[positive] for t in (bins, boxes, gt_boxes, points))
        weights = logits[positive].detach().sigmoid().amax(dim=1)
        total = reduce_mean(weights.sum()).clamp(min=1)
        if not len(weights):  # a loss of 0 that gives every parameter a gradient
            nothing = bins.sum()
            return {"loss_cls": loss_cls, "loss_bbox": nothing, "loss_dfl": nothing}
        strides = points[:, 2:]
        distances = self.bbox_coder.encode(
            points[:, :2] / strides, gt_boxes / strides, self.reg_max
        )
        return {
            "loss_cls": loss_cls,
            "loss_bbox": self.loss_bbox(boxes, gt_boxes, weight=weights, avg_factor=total),
            "loss_dfl": self.loss_dfl(
                bins.reshape(-1, self.reg_max + 1),
                distances.reshape(-1),
                weight=weights.repeat_interleave(4),
                avg_factor=4 * total,
            ),
        }


class NanoDetAuxHead(GFLHead):
    """The auxiliary head of NanoDet-Plus: mmdet's GFL head with LeakyReLU, shared by the levels."""

    def _init_layers(self) -> None:
        super()._init_layers()
        for conv in (*self.cls_convs, *self.reg_convs):
            conv.activate = activation(LEAKY)
