"""The heads of Light-Head R-CNN (arXiv:1711.07264), for mmdet's two-stage detectors.

``FasterRCNN`` becomes Light-Head R-CNN with a backbone that outputs C4 and C5, a
:class:`LightHeadRPNHead`, a :class:`LightHeadRoIHead` and no neck. :class:`LightHeadRCNN` also
fills in the backbone's channels.
"""

from typing import Any

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import FasterRCNN
from mmdet.models.roi_heads import ConvFCBBoxHead, StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from torch import Tensor

from ..backbones.base import map_channels

DEFAULTS: dict[str, Any] = {
    "in_channels": 10,
    "num_shared_fcs": 1,
    "fc_out_channels": 2048,
    "loss_bbox": {"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 2.0},
    "init_cfg": {
        "type": "Normal",
        "layer": "Linear",
        "std": 0.01,
        "override": {"type": "Normal", "name": "fc_reg", "std": 0.001},
    },
}


class LightHeadRCNN(FasterRCNN):
    """Light-Head R-CNN; it fills in channels that the heads' configs leave out."""

    def __init__(
        self,
        backbone: dict[str, Any],
        rpn_head: dict[str, Any],
        roi_head: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Build mmdet's ``FasterRCNN`` on a backbone whose outputs are C4 and C5."""
        c4, *_, c5 = map_channels(MODELS.build(backbone))
        thin_conv = {"in_channels": c5, **roi_head["thin_conv"]}
        super().__init__(
            backbone=backbone,
            rpn_head={"in_channels": c4, **rpn_head},
            roi_head={**roi_head, "thin_conv": thin_conv},
            **kwargs,
        )


class LightHeadRPNHead(RPNHead):
    """An RPN that reads only the first maps: C4, while the RoI head reads C5 (Sec. 3.2).

    It reads one map per stride of its anchors, so one map for ``strides=[16]``.
    """

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Scores (N, A, H, W) and deltas (N, 4 A, H, W) per map, for A anchors per cell."""
        return super().forward(x[: self.prior_generator.num_levels])


class LightHeadBBoxHead(ConvFCBBoxHead):
    """The one-layer R-CNN head (Sec. 3.2), trained on the hardest RoIs of the batch.

    The pooled 10 x 7 x 7 values of a RoI go through a fully connected layer of 2048 channels and a
    ReLU to the scores and the deltas. The deltas are per class, as in the authors' code, or for all
    classes together with ``reg_class_agnostic=True``, as in the paper. As in the code, weights
    start from a Gaussian of standard deviation 0.01 (the deltas' 0.001), and the box loss has
    weight 2.

    Online hard example mining works as in the authors' code, unlike mmdet's ``OHEMSampler``. Every
    proposal and every annotated box is a candidate. The RoIs with the largest sum of both losses,
    without their loss weights, are chosen from the whole batch of the process, foreground or not,
    and both losses are averaged over them. So the sampler must keep all candidates:
    ``dict(type='RandomSampler', num=NUM, pos_fraction=1.0)``, with NUM larger than their number.
    """

    def __init__(
        self,
        ohem_per_image: int | None = 256,
        **kwargs: Any,
    ) -> None:
        """Build the layers.

        Args:
            ohem_per_image: Number of RoIs per image of the batch that are trained on, at most; 256
                gives the authors' 512 for two images per GPU. None: all RoIs.
            **kwargs: The arguments of mmdet's ``ConvFCBBoxHead``: ``num_classes``,
                ``roi_feat_size``, ``reg_class_agnostic``, ``bbox_coder``, ``loss_cls``, …. The
                defaults of layers, initialisation and box loss (smooth L1, weight 2) are the
                authors'.

        Raises:
            ValueError: ``ohem_per_image`` is not positive, or one of the losses that choose the
                RoIs has no weight.
        """
        if ohem_per_image is not None and ohem_per_image < 1:
            raise ValueError(f"ohem_per_image={ohem_per_image!r}: must be positive or None")
        super().__init__(**{**DEFAULTS, **kwargs})
        self.ohem_per_image = ohem_per_image
        weights = self.loss_cls.loss_weight, self.loss_bbox.loss_weight
        if ohem_per_image is not None and min(weights) <= 0:
            raise ValueError(
                f"loss_weight={weights} of loss_cls and loss_bbox: must be positive, because the "
                "losses choose the RoIs; ohem_per_image=None trains on all RoIs"
            )

    def loss_and_target(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor,
        rois: Tensor,
        sampling_results: list[SamplingResult],
        rcnn_train_cfg: dict[str, Any],
        concat: bool = True,
        reduction_override: str | None = None,
    ) -> dict[str, Any]:
        """Compute the losses over the hardest RoIs of the batch.

        Arguments and result are those of mmdet's ``BBoxHead``; ``bbox_targets`` has all RoIs.
        """
        targets = self.get_targets(sampling_results, rcnn_train_cfg, concat=concat)
        chosen = (cls_score, bbox_pred, rois, *targets)
        if self.ohem_per_image is not None:
            number = self.ohem_per_image * len(sampling_results)
            if number < len(rois):
                order = self._losses_of_rois(*chosen).argsort(descending=True, stable=True)
                chosen = tuple(of_rois[order[:number]] for of_rois in chosen)
        losses = self.loss(*chosen, reduction_override=reduction_override)
        return {"loss_bbox": losses, "bbox_targets": targets}

    @torch.no_grad()
    def _losses_of_rois(
        self, cls_score: Tensor, bbox_pred: Tensor, rois: Tensor, labels: Tensor, *targets: Tensor
    ) -> Tensor:
        """The sum of both losses of every RoI, without the loss weights, (n,)."""
        losses = self.loss(cls_score, bbox_pred, rois, labels, *targets, reduction_override="none")
        total = losses["loss_cls"] / self.loss_cls.loss_weight
        foreground = labels < self.num_classes
        if foreground.any():
            of_boxes = losses["loss_bbox"]  # (foreground, 4), or (foreground,) of an IoU loss
            of_boxes = of_boxes.reshape(len(of_boxes), -1).sum(dim=1)  # (foreground,)
            total[foreground] += of_boxes / self.loss_bbox.loss_weight
        return total


class LightHeadRoIHead(StandardRoIHead):
    """RoI head on a thin, position-sensitive map, which is computed once per image (Sec. 3.2).

    The thin map is computed from the last of the given maps: C5 in the paper.
    ``bbox_roi_extractor`` is a :class:`~shufflenet_det.detectors.ps_roi.PSRoIExtractor` with the
    stride of that map: 32 as in the paper's small setting, which has no dilation, or 16 if the last
    stage of the backbone has stride 1.
    """

    def __init__(self, thin_conv: dict[str, Any], **kwargs: Any) -> None:
        """Build mmdet's ``StandardRoIHead``, and from ``thin_conv`` the thin map's layer."""
        super().__init__(**kwargs)
        self.thin_conv = MODELS.build(thin_conv)

    def _bbox_forward(self, x: tuple[Tensor, ...], rois: Tensor) -> dict[str, Tensor]:
        return super()._bbox_forward((self.thin_conv(x[-1]),), rois)
