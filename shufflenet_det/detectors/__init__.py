"""What mmdet lacks for the detectors of the papers.

These are Light-Head R-CNN (arXiv:1711.07264) and Faster R-CNN in its C4 form. NanoDet and
NanoDet-Plus are here, too.

mmdet's registry imports the modules here when a name is first asked of it, as it does its own
(``mmdet.models``), so that importing the package stays quick. They register ``BilinearPAN``,
``FasterRCNNC4``, ``GhostPAN``, ``LargeSeparableConv``, ``LightHeadBBoxHead``,
``LightHeadRCNN``, ``LightHeadRPNHead``, ``LightHeadRoIHead``, ``NanoDet``, ``NanoDetAuxHead``, ``NanoDetHead``,
``NanoDetPlus``, ``NanoDetPlusHead``, ``PSRoIExtractor`` and ``Stage4Head``.
"""

from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import nn

_NAMES = (
    *("ghost_pan", "large_separable_conv", "light_head", "nanodet", "nanodet_head", "ps_roi"),
    "stage4_head",
)
_MODULES = [f"{__name__}.{name}" for name in _NAMES]


def backbone_channels(backbone: Mapping[str, Any] | nn.Module) -> list[int]:
    """Channels of the maps that a backbone computes, by a pass on the meta device.

    Args:
        backbone: Of this package or of mmdet, or the config of one.
    """
    built = MODELS.build(backbone) if isinstance(backbone, Mapping) else deepcopy(backbone)
    built.to("meta").eval()  # some of mmdet's return None
    with torch.no_grad():
        return [m.shape[1] for m in built(torch.empty(1, 3, 64, 64, device="meta"))]


# mmengine lets a registry's locations be given only where it is made.
MODELS._locations.extend(_MODULES)
if MODELS._imported:
    for _module in _MODULES:
        import_module(_module)
