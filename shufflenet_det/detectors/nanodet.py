"""NanoDet and NanoDet-Plus (github.com/RangiLyu/nanodet, Apache-2.0) as mmdet detectors."""

from collections.abc import Mapping
from typing import Any

import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmengine.logging import MessageHub
from torch import Tensor

from ..weights.nanodet import fit_detector_state, load_pretrained_detector


class NanoDet(SingleStageDetector):
    """NanoDet: ``BilinearPAN`` and ``NanoDetHead`` on a backbone with LeakyReLU(0.1).

    ``load_state_dict`` also accepts NanoDet's own files, with BatchNorm or with BatchNorm folded
    into the convolutions, and loads all tensors or none. ``init_cfg=dict(type='Pretrained',
    checkpoint=…)`` starts a training from such a file, with any number of classes.
    """

    def init_weights(self) -> None:
        """Initialise; ``init_cfg`` of type ``Pretrained`` loads the whole detector."""
        if (self.init_cfg or {}).get("type") != "Pretrained":
            super().init_weights()
            return
        for name, part in self.named_children():
            if name not in ("backbone", "data_preprocessor"):  # the file has the whole backbone
                part.init_weights()
        load_pretrained_detector(self, self.init_cfg["checkpoint"])
        self.is_init = True

    def fitting_state(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert the tensors of a file to this detector's state_dict, or raise ValueError."""
        return fit_detector_state(self, tensors)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        given = [key for key in state_dict if key.startswith(prefix)]
        state = {key.removeprefix(prefix): state_dict.pop(key) for key in given}
        state = self.fitting_state(state)
        state_dict.update((f"{prefix}{key}", tensor) for key, tensor in state.items())
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class NanoDetPlus(NanoDet):
    """NanoDet-Plus: ``GhostPAN`` and ``NanoDetPlusHead``, trained with an auxiliary head.

    The auxiliary parts are ``aux_neck``, a second neck like the first, and ``aux_head``, which
    reads the maps of both necks. They are built only if ``train_cfg`` has ``aux_head``, and used
    only in training. A detector without them can load the weights of a detector with them.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        neck: dict[str, Any],
        bbox_head: dict[str, Any],
        train_cfg: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Build the parts.

        Args:
            backbone, neck, bbox_head, **kwargs: As of mmdet's ``SingleStageDetector``.
            train_cfg: ``assigner``; ``aux_head``, changes to NanoDet-Plus's auxiliary head, or None
                for no auxiliary parts; and ``detach_epoch``, the epoch, counted from 0, from which
                on the auxiliary parts train neither the backbone nor the neck.
        """
        super().__init__(backbone, neck, bbox_head, train_cfg=train_cfg, **kwargs)
        aux_head = (train_cfg or {}).get("aux_head")
        self.with_aux = aux_head is not None
        if aux_head is None:
            return
        channels = 2 * self.bbox_head.in_channels
        strides = self.bbox_head.prior_generator.strides
        own = {
            "type": "NanoDetAuxHead",
            "num_classes": self.bbox_head.num_classes,
            "in_channels": channels,
            "feat_channels": channels,
            "reg_max": self.bbox_head.reg_max,
            "anchor_generator": {"type": "MlvlPointGenerator", "strides": strides},
            "loss_cls": {"type": "QualityFocalLoss", "use_sigmoid": True},
        }
        self.aux_neck = MODELS.build(neck)
        self.aux_head = MODELS.build({**own, **aux_head})

    def loss(self, batch_inputs: Tensor, batch_data_samples: list[Any]) -> dict[str, Tensor]:
        """The losses of :meth:`NanoDetPlusHead.loss_by_feat` for images (N, 3, H, W)."""
        features = self.backbone(batch_inputs)
        levels = self.neck(features)
        aux = None
        if self.with_aux:
            aux_features, guided = features, levels
            epoch = MessageHub.get_current_instance().get_info("epoch", 0)
            if epoch >= self.train_cfg.get("detach_epoch", float("inf")):
                aux_features, guided = (tuple(x.detach() for x in xs) for xs in (features, levels))
            both = zip(guided, self.aux_neck(aux_features), strict=True)
            aux = self.aux_head(tuple(torch.cat(maps, dim=1) for maps in both))
        gts, gts_ignored, metas = unpack_gt_instances(batch_data_samples)
        return self.bbox_head.loss_by_feat(*self.bbox_head(levels), gts, metas, gts_ignored, aux)
