"""The model, dataset and metric of ``configs/pretrain``."""

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

    A detector can use its checkpoints unchanged as ``init_cfg=dict(type='Pretrained',
    checkpoint=…)``: tensors are named ``backbone.*`` and ``head.fc.*``, and the state_dict records
    the preprocessing.
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
            backbone: A backbone that outputs its last level, or its config for mmdet's ``MODELS``.
            num_classes: Number of classes.
            dropout: Dropout probability of the pooled features. The authors use 0.2 for V2 2.0x
                and no dropout for their other networks (megvii-model/ShuffleNet-Series).
            bias: Whether the linear layer has a bias, as in torchvision; the authors use none.
            label_smoothing: Label smoothing of the cross-entropy, 0 to 1.
            data_preprocessor: Config of mmengine's ``ImgDataPreprocessor``, whose input is BGR, 0
                to 255. None: no normalisation.
            init_cfg: mmengine's initialisation of the linear layer. None: normal with a standard
                deviation of 0.01, as in the authors' code. The backbone has its own ``init_cfg``.
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
        self, inputs: Tensor, data_samples: Any = None, mode: str = "tensor"
    ) -> Tensor | dict[str, Tensor]:
        """Classify images.

        Args:
            inputs: Preprocessed images, (N, 3, H, W).
            data_samples: Class indices, (N,), for ``mode='loss'``.
            mode: 'tensor' and 'predict' return logits, (N, num_classes); 'loss' returns the mean
                cross-entropy, ``{'loss': …}``.
        """
        if mode not in ("tensor", "predict", "loss"):
            raise ValueError(f"mode={mode!r}: must be 'tensor', 'predict' or 'loss'")
        logits = self.head(self.backbone(inputs)[-1])
        if mode != "loss":
            return logits
        loss = F.cross_entropy(logits, data_samples, label_smoothing=self.label_smoothing)
        return {"loss": loss}


def _state_images(
    module: ImageClassifier, state: dict[str, Tensor], prefix: str, metadata: dict[str, Any]
) -> None:
    """A ``state_dict`` hook that records the preprocessing in the checkpoint."""
    of_backbone = state._metadata[f"{prefix}backbone"]  # type: ignore[attr-defined]
    network = of_backbone.setdefault("network", {})
    network["data_preprocessor"] = module.images.data_preprocessor()


class ImageFolder(datasets.ImageFolder):
    """torchvision's ``ImageFolder`` (``CLASS/*.jpg``) for mmengine's Runner.

    An item is ``{'inputs': image, 'data_samples': class index}``. The image is (3, H, W), uint8 and
    BGR as in mmdet, so a ``data_preprocessor`` means the same as in a detector. Class indices
    follow the sorted folder names, as in ImageNet.
    """

    def __init__(self, root: str, pipeline: Iterable[Mapping[str, Any]] = ()) -> None:
        """Index the images of ``root``, which has one folder per class.

        ``pipeline`` holds configs of torchvision's transforms (``torchvision.transforms.v2.…``).
        They turn a PIL image into a PIL image of a fixed size.
        """
        steps = [TRANSFORMS.build(dict(step)) for step in pipeline]
        super().__init__(root, transform=v2.Compose(steps) if steps else None, loader=_load)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The image with this index, and its class."""
        image, label = super().__getitem__(index)
        return {"inputs": v2.functional.pil_to_tensor(image).flip(0), "data_samples": label}

    @property
    def metainfo(self) -> dict[str, Any]:
        """``{'classes': names}``, which mmengine saves in checkpoints."""
        return {"classes": tuple(self.classes)}


def _load(path: str) -> Image.Image:
    try:
        return default_loader(path)
    except Exception as error:  # damaged files raise errors of many types
        raise ValueError(f"{path!r} is damaged or not an image ({error})") from error


class TopKAccuracy(BaseMetric):
    """Percentage of images whose class is among the k classes with the highest logits.

    An image is correct only if fewer than k other classes have an equal or higher logit. Ties and
    NaN therefore count as wrong.
    """

    default_prefix = "accuracy"

    def __init__(self, topk: Sequence[int] = (1, 5), **kwargs: Any) -> None:
        """Set the values of k; ``kwargs`` go to mmengine's ``BaseMetric``."""
        super().__init__(**kwargs)
        self.topk = tuple(topk)

    def process(self, data_batch: Mapping[str, Any], data_samples: Sequence[Tensor]) -> None:
        """Rank the correct classes, (N,), of a batch by its N logit vectors, (classes,)."""
        logits = torch.stack(list(data_samples)).cpu()
        labels = torch.as_tensor(data_batch["data_samples"]).cpu()
        lower = (logits < logits.gather(1, labels[:, None])).sum(dim=1)
        self.results.extend((logits.shape[1] - 1 - lower).tolist())

    def compute_metrics(self, results: Sequence[int]) -> dict[str, float]:
        """Return ``{'top1': …, 'top5': …}`` in %; results are ranks, 0 for the highest logit."""
        return {f"top{k}": 100 * sum(r < k for r in results) / len(results) for k in self.topk}
