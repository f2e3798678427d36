"""A backbone with the papers' classifier behind it."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from mmdet.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from ..weights import Images

Cfg = dict[str, Any]


class ImageClassifier(BaseModel):
    """Backbone, global average pooling, dropout, linear layer (V1 Table 1, V2 Table 5).

    The tensors of a checkpoint are called ``backbone.*`` and ``head.fc.*``, and its state_dict
    states the images that they were trained on, so that it is a detector's
    ``init_cfg=dict(type='Pretrained', checkpoint=…)`` as it is.
    """

    def __init__(
        self,
        backbone: Cfg | nn.Module,
        num_classes: int = 1000,
        *,
        in_channels: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        label_smoothing: float = 0.0,
        data_preprocessor: Cfg | None = None,
        init_cfg: Cfg | list[Cfg] | None = None,
    ) -> None:
        """Build the classifier.

        Args:
            backbone: A backbone with its last level among its outputs, or a config of one, built
                through mmdet's ``MODELS``.
            num_classes: Classes.
            in_channels: Channels of the backbone's last output; None: a backbone of this package
                tells them.
            dropout: Probability of dropping a pooled feature, 0 to 1. The authors' V2 2.0x has
                0.2, their other networks none (megvii-model/ShuffleNet-Series).
            bias: Whether the linear layer has a bias; the authors' have none, torchvision's has.
            label_smoothing: Of the cross-entropy, 0 to 1.
            data_preprocessor: Config of mmengine's ``ImgDataPreprocessor``, for images that come
                as BGR, 0 to 255; None: as they come.
            init_cfg: mmengine's initialisation of the linear layer; None: normal with a standard
                deviation of 0.01, as the authors' code has it. The backbone has its own.

        Raises:
            ValueError: The backbone's last level is not among its outputs.
        """
        images = {"type": "ImgDataPreprocessor", **(data_preprocessor or {})}
        super().__init__(
            images, init_cfg or {"type": "Normal", "layer": "Linear", "std": 0.01, "bias": 0}
        )
        built: Any = MODELS.build(backbone) if isinstance(backbone, Mapping) else backbone
        if getattr(built, "unbuilt_parts", ()):
            raise ValueError(
                f"out_indices={built.out_indices}: a classifier needs the backbone's last level, "
                f"and {', '.join(built.unbuilt_parts)} would not be built"
            )
        self.backbone = built
        self.head = nn.Sequential(
            OrderedDict(
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                dropout=nn.Dropout(dropout),
                fc=nn.Linear(in_channels or built.out_channels[-1], num_classes, bias=bias),
            )
        )
        self.label_smoothing = label_smoothing
        self.images = Images.of(images)
        self.register_state_dict_post_hook(_state_images)

    def forward(
        self, inputs: Tensor, data_samples: Tensor | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor]:
        """Classify images.

        Args:
            inputs: Images, (N, 3, H, W).
            data_samples: Numbers of their classes, (N,); for ``mode='loss'``.
            mode: 'tensor' and 'predict' for logits, 'loss' for the loss.

        Returns:
            Logits, (N, num_classes), or ``{'loss': …}``, the mean cross-entropy.

        Raises:
            ValueError: Another mode, or no classes for the loss.
        """
        if mode not in ("tensor", "predict", "loss"):
            raise ValueError(f"mode={mode!r}: must be 'tensor', 'predict' or 'loss'")
        logits = self.head(self.backbone(inputs)[-1])
        if mode != "loss":
            return logits
        if data_samples is None:
            raise ValueError("mode='loss' needs the numbers of the classes, data_samples=…")
        loss = F.cross_entropy(logits, data_samples, label_smoothing=self.label_smoothing)
        return {"loss": loss}


def _state_images(
    module: ImageClassifier, state: dict[str, Tensor], prefix: str, metadata: dict[str, Any]
) -> None:
    """Let a checkpoint tell the backbone's images: a hook of ``state_dict``."""
    of_backbone = state._metadata[f"{prefix}backbone"]  # type: ignore[attr-defined]
    network = of_backbone.setdefault("network", {})
    network["data_preprocessor"] = module.images.data_preprocessor()
