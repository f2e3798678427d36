"""Registers this package's networks and parts of detectors in ``mmdet.registry.MODELS``.

mmdet's registry imports this module when a name is first asked of it, after its own models.
"""

from mmdet.registry import MODELS
from torch import nn

import shufflenet_det

for _name, _module in shufflenet_det._LAZY.items():
    # Another plugin's class of that name stays; ours is ``type='shufflenet_det.NAME'`` as well.
    if _module.startswith((".backbones", ".detectors.")) and _name not in MODELS.module_dict:
        _class = getattr(shufflenet_det, _name)
        if issubclass(_class, nn.Module):
            MODELS.register_module(module=_class)
