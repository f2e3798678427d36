"""Registers the networks and detector modules of this package in ``mmdet.registry.MODELS``.

mmdet's registry imports this module on its first lookup, after its own models.
"""

from mmdet.registry import MODELS
from torch import nn

import shufflenet_det
from shufflenet_det import backbones

_parts = [name for name, module in shufflenet_det._LAZY.items() if module.startswith(".detectors.")]
for _name in (*backbones.__all__, *_parts):
    _class = getattr(shufflenet_det, _name)
    # Do not replace another plugin's class; ``type='shufflenet_det.NAME'`` always works.
    if issubclass(_class, nn.Module) and _name not in MODELS.module_dict:
        MODELS.register_module(module=_class)
