"""Exact ShuffleNet V1 and V2 backbones for MMDetection, on today's PyTorch.

Importing the package makes mmdet usable where it is not (:mod:`shufflenet_det.host`) and registers
the backbones and the parts of detectors that mmdet lacks in ``mmdet.registry.MODELS``.
"""

from importlib import import_module
from typing import Any

from . import host, weights
from .backbones import MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception
from .backbones.base import LevelBackbone
from .version import __version__

LevelBackbone.pretrained_loader = staticmethod(weights.load_pretrained)
if host.apply():
    from mmdet.registry import MODELS

    from . import detectors  # noqa: F401

    for _backbone in (MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception):
        MODELS.register_module(module=_backbone)

__all__ = ["MobileNetV1", "ShuffleNetV1", "ShuffleNetV2", "Xception", "__version__"]

# Public names of modules that import mmdet's models, by which configs name them.
_LAZY = {
    "WarpResize": "data.warp",
    "EstimateStatistics": "detectors.statistics",
    "NanoDet": "detectors.nanodet",
    "NanoDetPlus": "detectors.nanodet",
    "RandomColor": "data.warp",
    "RandomWarp": "data.warp",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
