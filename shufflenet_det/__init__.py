"""Exact ShuffleNet V1 and V2 backbones for MMDetection, on today's PyTorch.

Importing the package makes mmdet usable where it is not (:mod:`shufflenet_det.host`) and registers
the backbones and the parts of detectors that mmdet lacks in ``mmdet.registry.MODELS``.
"""

from . import host
from .backbones import MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception
from .version import __version__

if host.apply():
    from mmdet.registry import MODELS

    from . import detectors  # noqa: F401

    for _backbone in (MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception):
        MODELS.register_module(module=_backbone)

__all__ = ["MobileNetV1", "ShuffleNetV1", "ShuffleNetV2", "Xception", "__version__"]
