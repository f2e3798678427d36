"""Faster R-CNN in its C4 form: RPN and RoIs on stage 3, and stage 4 on every RoI."""

from typing import Any

from mmdet.models.detectors import FasterRCNN
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor

from ..backbones.base import LevelBackbone, map_channels, norms_to_eval, run_checkpointed


class FasterRCNNC4(FasterRCNN):
    """Faster R-CNN as on ResNet (arXiv:1512.03385, Appendix A), for this package's backbones.

    ``backbone`` ends at stage 3 (``out_indices=(2, )``), and its stage 4 becomes the RoI head's
    ``shared_head``, a :class:`Stage4Head`. ``bbox_head`` is a ``BBoxHead`` with
    ``with_avg_pool=True``. Channels that the heads' configs leave out are filled in.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        rpn_head: dict[str, Any],
        roi_head: dict[str, Any],
        **kwargs: Any,
    ) -> None:
        """Build mmdet's ``FasterRCNN`` on a backbone of this package that ends at stage 3."""
        shared_head = {"type": "Stage4Head", "backbone": backbone}
        c4, c5 = map_channels(MODELS.build({**backbone, "out_indices": (2, 3)}))
        extractor = {"out_channels": c4, **roi_head["bbox_roi_extractor"]}
        bbox_head = {"in_channels": c5, **roi_head["bbox_head"]}
        super().__init__(
            backbone=backbone,
            rpn_head={"in_channels": c4, **rpn_head},
            roi_head={
                **roi_head,
                "bbox_roi_extractor": extractor,
                "bbox_head": bbox_head,
                "shared_head": shared_head,
            },
            **kwargs,
        )


class Stage4Head(BaseModule):
    """Compute a backbone's stage 4 on every RoI (arXiv:1512.03385, Appendix A: conv5_x).

    A RoI of 14x14 cells of stage 3 (stride 16) becomes 7x7 cells.
    """

    def __init__(self, backbone: dict[str, Any]) -> None:
        """Build stage 4 from the config of a detector's ``backbone``, without ``frozen_stages``.

        ValueError if the backbone is not of this package, or does not end at stage 3.
        """
        super().__init__()
        self._backbone = {**backbone, "out_indices": (3,), "frozen_stages": -1}
        network = MODELS.build(self._backbone)
        if not isinstance(network, LevelBackbone):
            raise ValueError(
                f"backbone.type={backbone['type']!r}: must be of shufflenet_det, because only its "
                "backbones have stage 4 as one module"
            )
        out_indices = backbone.get("out_indices")
        if out_indices is None or tuple(out_indices) != (2,):
            raise ValueError(
                f"backbone.out_indices={out_indices!r}: must be (2, ), because stage 4 is computed "
                "on the RoIs"
            )
        self.norm_eval = network.norm_eval
        self.with_cp = network.with_cp
        self.stage4 = network.stage4

    def init_weights(self) -> None:
        """Initialise with the backbone's ``init_cfg``; ``Pretrained`` loads stage 4."""
        network = MODELS.build(self._backbone)
        network.init_weights()
        self.stage4.load_state_dict(network.stage4.state_dict())
        self.is_init = True

    def forward(self, x: Tensor) -> Tensor:
        """RoI features (K, C3, H, W) to (K, C4, ⌈H/2⌉, ⌈W/2⌉)."""
        recompute = self.with_cp and self.training
        return run_checkpointed(self.stage4, x) if recompute else self.stage4(x)

    def train(self, mode: bool = True) -> "Stage4Head":
        """Set training mode; with ``norm_eval``, BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self.norm_eval:
            norms_to_eval(self)
        return self
