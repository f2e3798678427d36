"""The preprocessing that weights were trained with, and whether a detector has the same."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

_KEYS = ("mean", "std", "bgr_to_rgb", "rgb_to_bgr")
_RGB_MEAN = (123.675, 116.28, 103.53)  # the mean colour of ImageNet's photographs


@dataclass(frozen=True)
class Images:
    """The preprocessing of images of 0 to 255, as in mmdet's ``data_preprocessor``."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr_to_rgb: bool

    @classmethod
    def of(cls, data_preprocessor: Mapping[str, Any]) -> "Images":
        """Read a ``data_preprocessor``; ValueError if ``mean`` or ``std`` is not three numbers."""
        mean = data_preprocessor.get("mean") or (0, 0, 0)
        std = data_preprocessor.get("std") or (1, 1, 1)
        for name, values in (("mean", mean), ("std", std)):
            numbers = isinstance(values, list | tuple) and len(values) == 3
            if not numbers or not all(isinstance(v, int | float) for v in values):
                raise ValueError(f"data_preprocessor.{name} must be three numbers")
        turned = data_preprocessor.get("bgr_to_rgb") or data_preprocessor.get("rgb_to_bgr")
        return cls(tuple(map(float, mean)), tuple(map(float, std)), bool(turned))

    def data_preprocessor(self) -> dict[str, Any]:
        """``mean``, ``std`` and ``bgr_to_rgb`` of mmdet's ``DetDataPreprocessor``."""
        return {"mean": list(self.mean), "std": list(self.std), "bgr_to_rgb": self.bgr_to_rgb}

    def same_as(self, other: "Images") -> bool:
        """Whether a network cannot tell the two kinds of preprocessing apart."""
        pairs = zip(self.mean + self.std, other.mean + other.std, strict=True)
        close = all(math.isclose(a, b, rel_tol=2e-3, abs_tol=0.02) for a, b in pairs)
        return close and self.bgr_to_rgb == other.bgr_to_rgb


def stated_images(data_preprocessor: Mapping[str, Any] | None) -> Images | None:
    """The preprocessing that a ``data_preprocessor`` states; None if it states none."""
    stated = data_preprocessor or {}
    return Images.of(stated) if any(key in stated for key in _KEYS) else None


def compare_images(of_weights: Images | None, of_model: Images | None, name: str) -> None:
    """Warn if the preprocessing of a model and of its weights (``name``) are known and differ."""
    if of_weights is None or of_model is None or of_weights.same_as(of_model):
        return
    warn(
        f"data_preprocessor has {of_model.data_preprocessor()}, but the weights {name!r} were "
        f"trained on {of_weights.data_preprocessor()}"
    )


def warn(message: str) -> None:
    """Warn in mmengine's current logger."""
    print_log(message, logger="current", level=logging.WARNING)


def images_by_statistics(
    weight: Tensor, norm: Mapping[str, Tensor], usual: Images | None, known: Mapping[str, Images]
) -> Images | None:
    """Infer the preprocessing from the running statistics of the stem's BatchNorm.

    The mean output of a convolution on photographs follows from the sums of its kernels and the
    mean colour.

    Args:
        weight: The weight of the stem's convolution, (C, 3, k, k).
        norm: ``running_mean`` and ``running_var`` of the BatchNorm after it, (C).
        usual: The usual preprocessing of the source. It is returned unless another one of ``known``
            fits the statistics clearly better.
    """
    mean, var = norm.get("running_mean"), norm.get("running_var")
    if mean is None or var is None or not mean.any() or weight.shape[1] != 3:
        return usual
    sums = weight.double().sum((2, 3))

    def error(images: Images) -> float:
        """The error of the expected mean, in standard deviations of the channels."""
        colour = _RGB_MEAN if images.bgr_to_rgb else _RGB_MEAN[::-1]
        rows = zip(colour, images.mean, images.std, strict=True)
        expected = sums @ torch.tensor([(c - m) / s for c, m, s in rows], dtype=torch.double)
        off = (expected - mean.double()) / var.double().clamp(min=1e-12).sqrt()
        return float(off.square().mean().sqrt())

    errors = {
        images: error(images)
        for images in known.values()
        if usual is None or images.bgr_to_rgb == usual.bgr_to_rgb
    }
    best, second = sorted(errors, key=errors.__getitem__)[:2]
    rival = second if usual is None else usual
    return best if errors[best] < 0.1 and errors[rival] > 5 * errors[best] else usual
