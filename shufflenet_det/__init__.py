"""Exact ShuffleNet V1 and V2 backbones for MMDetection, on current PyTorch.

The import is fast: public names are loaded on first use. It installs import hooks
(:mod:`shufflenet_det.host.import_hooks`) that fix mmdet and register the networks when mmengine and
mmdet are imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .host import import_hooks
from .version import __version__

if TYPE_CHECKING:
    from .backbones import MobileNetV1, ShuffleNetV1, ShuffleNetV2, Xception
    from .detector import Detector

# Public names and their modules, except those of ``backbones``. Configs use them as
# ``type='shufflenet_det.NAME'``.
_LAZY = {
    "BilinearPAN": ".detectors.ghost_pan",
    "ChannelsLast": ".training.hooks",
    "Detector": ".detector",
    "EstimateStatistics": ".detectors.statistics",
    "FasterRCNNC4": ".detectors.stage4_head",
    "GhostPAN": ".detectors.ghost_pan",
    "LargeSeparableConv": ".detectors.large_separable_conv",
    "LightHeadBBoxHead": ".detectors.light_head",
    "LightHeadRCNN": ".detectors.light_head",
    "LightHeadRPNHead": ".detectors.light_head",
    "LightHeadRoIHead": ".detectors.light_head",
    "NanoDet": ".detectors.nanodet",
    "NanoDetAuxHead": ".detectors.nanodet_head",
    "NanoDetHead": ".detectors.nanodet_head",
    "NanoDetPlus": ".detectors.nanodet",
    "NanoDetPlusHead": ".detectors.nanodet_head",
    "PSRoIExtractor": ".detectors.ps_roi",
    "RandomColor": ".data.warp",
    "RandomWarp": ".data.warp",
    "Stage4Head": ".detectors.stage4_head",
    "WarpResize": ".data.warp",
}

__all__ = ["Detector", "MobileNetV1", "ShuffleNetV1", "ShuffleNetV2", "Xception", "__version__"]

import_hooks.install()


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    if name[:1].isupper():  # maybe a backbone
        backbones = import_module(".backbones", __name__)
        if name in backbones.__all__:
            return getattr(backbones, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_LAZY})
