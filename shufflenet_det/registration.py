"""Registers this package's networks and parts of detectors in ``mmdet.registry.MODELS``.

mmdet's registry imports this module when a name is first asked of it, after its own models.
"""

from mmdet.registry import MODELS
from torch import nn

import shufflenet_det
from shufflenet_det import backbones

_parts = [name for name, module in shufflenet_det._LAZY.items() if module.startswith(".detectors.")]
for _name in (*backbones.__all__, *_parts):
    _class = getattr(shufflenet_det, _name)
    # Another plugin's class of that name stays; ours is ``type='shufflenet_det.NAME'`` as well.
    if issubclass(_class, nn.Module) and _name not in MODELS.module_dict:
        MODELS.register_module(module=_class)
