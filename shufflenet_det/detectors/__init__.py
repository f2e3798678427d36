"""What mmdet lacks for the detectors of the papers.

These are Light-Head R-CNN (arXiv:1711.07264) and Faster R-CNN in its C4 form. NanoDet and
NanoDet-Plus are here, too.

mmdet's registry imports the modules here when a name is first asked of it, as it does its own
(``mmdet.models``), so that importing the package stays quick. They register ``BilinearPAN``,
``FasterRCNNC4``, ``GhostPAN``, ``LargeSeparableConv``, ``LightHeadBBoxHead``,
``LightHeadRPNHead``, ``LightHeadRoIHead``, ``NanoDet``, ``NanoDetAuxHead``, ``NanoDetHead``,
``NanoDetPlus``, ``NanoDetPlusHead``, ``PSRoIExtractor`` and ``Stage4Head``.
"""

from importlib import import_module

from mmdet.registry import MODELS

_NAMES = (
    *("ghost_pan", "large_separable_conv", "light_head", "nanodet", "nanodet_head", "ps_roi"),
    "stage4_head",
)
_MODULES = [f"{__name__}.{name}" for name in _NAMES]

# mmengine lets a registry's locations be given only where it is made.
MODELS._locations.extend(_MODULES)
if MODELS._imported:
    for _module in _MODULES:
        import_module(_module)
