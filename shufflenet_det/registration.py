"""Registers the networks of this package in ``mmdet.registry.MODELS``.

mmdet's registry imports this module when a name is first asked of it, after its own models.
"""

from mmdet.registry import MODELS

from . import backbones, detectors  # noqa: F401

for _name in backbones.__all__:
    # Another plugin's class of that name stays; ours is ``type='shufflenet_det.NAME'`` as well.
    if _name not in MODELS.module_dict:
        MODELS.register_module(module=getattr(backbones, _name))
