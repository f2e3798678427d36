"""What configs of ``configs/pretrain`` name: the classifier, the folder of images, the metric."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import datasets
from torchvision.datasets.folder import default_loader
from torchvision.transforms import v2

from ..backbones.base import map_channels
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
            num_classes: Outputs of the linear layer.
            dropout: Probability of dropping a pooled feature, 0 to 1. The authors' V2 2.0x has
                0.2, their other networks none (megvii-model/ShuffleNet-Series).
            bias: Whether the linear layer has a bias; the authors' have none, torchvision's has.
            label_smoothing: Of the cross-entropy, 0 to 1.
            data_preprocessor: Config of mmengine's ``ImgDataPreprocessor``, for images that come
                as BGR, 0 to 255; None: as they come.
            init_cfg: mmengine's initialisation of the linear layer; None: normal with a standard
                deviation of 0.01, as the authors' code has it. The backbone has its own.
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
                fc=nn.Linear(map_channels(built)[-1], num_classes, bias=bias),
            )
        )
        self.label_smoothing = label_smoothing
        self.images = Images.of(images)
        self.register_state_dict_post_hook(_state_images)

    def forward(
        self, inputs: Tensor, data_samples: Tensor | None = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor]:
        """Classify images, (N, 3, H, W): logits, (N, num_classes), or the mean cross-entropy.

        Args:
            inputs: The images.
            data_samples: Numbers of their classes, (N,); for ``mode='loss'``.
            mode: 'tensor' and 'predict' for logits, 'loss' for ``{'loss': …}``.
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
    """Record the backbone's preprocessing in a checkpoint: a hook of ``state_dict``."""
    of_backbone = state._metadata[f"{prefix}backbone"]  # type: ignore[attr-defined]
    network = of_backbone.setdefault("network", {})
    network["data_preprocessor"] = module.images.data_preprocessor()


class ImageFolder(datasets.ImageFolder):
    """torchvision's ``ImageFolder`` (``CLASS/*.jpg``) for mmengine's Runner.

    An item is ``{'inputs': image, 'data_samples': class}``: (3, H, W) uint8, BGR as mmdet reads
    images, so that a ``data_preprocessor`` means here what it means for a detector; and the number
    of the class in the sorted order of the folders' names, as ImageNet's are numbered.
    """

    def __init__(self, root: str, pipeline: Iterable[Mapping[str, Any]] = ()) -> None:
        """Find the images of ``root``, a folder for each class.

        ``pipeline`` are configs of torchvision's transforms (``torchvision.transforms.v2.…``),
        which get a PIL image and end with one of a fixed size.
        """
        steps = [TRANSFORMS.build(dict(step)) for step in pipeline]
        super().__init__(root, transform=v2.Compose(steps) if steps else None, loader=_load)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The image of this number and its class."""
        image, label = super().__getitem__(index)
        return {"inputs": v2.functional.pil_to_tensor(image).flip(0), "data_samples": label}

    @property
    def metainfo(self) -> dict[str, Any]:
        """``{'classes': names}``, as mmengine writes it into checkpoints."""
        return {"classes": tuple(self.classes)}


def _load(path: str) -> Image.Image:
    try:
        return default_loader(path)
    except Exception as error:  # broken files break the readers in every way there is
        raise ValueError(f"{path!r} is damaged or no image ({error})") from error


class TopKAccuracy(BaseMetric):
    """How often the right class is among the k with the highest logits, in %.

    An image counts only if fewer than k other classes have logits as high or higher, so that
    neither equal logits nor NaN count as right.
    """

    default_prefix = "accuracy"

    def __init__(self, topk: Sequence[int] = (1, 5), **kwargs: Any) -> None:
        """Count for several k; ``kwargs`` are those of mmengine's ``BaseMetric``."""
        super().__init__(**kwargs)
        self.topk = tuple(topk)

    def process(self, data_batch: Mapping[str, Any], data_samples: Sequence[Tensor]) -> None:
        """Rank the right classes, (N,), of a batch by its logits, N times (classes,)."""
        logits = torch.stack(list(data_samples)).cpu()
        labels = torch.as_tensor(data_batch["data_samples"]).cpu()
        lower = (logits < logits.gather(1, labels[:, None])).sum(dim=1)
        self.results.extend((logits.shape[1] - 1 - lower).tolist())

    def compute_metrics(self, results: Sequence[int]) -> dict[str, float]:
        """``{'top1': …, 'top5': …}`` in %, of the ranks of the right class, 0 the highest."""
        return {f"top{k}": 100 * sum(r < k for r in results) / len(results) for k in self.topk}
