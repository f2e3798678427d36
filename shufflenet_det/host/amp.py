"""Lets ``--amp`` train where there is no GPU.

mmengine's ``AmpOptimWrapper`` refuses the CPU and Apple's mps, and its ``autocast`` mps. bfloat16
has float32's range, so no loss scaling is needed. Ends with an ``AmpOptimWrapper`` that takes both.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """An optimiser wrapper whose forward passes run in bfloat16 autocast, on any device."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of ``model`` under autocast."""
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield


def enable(optim_wrapper: ConfigDict) -> None:
    """Change a config to mixed precision: mmengine's ``AmpOptimWrapper`` with dynamic loss scaling
    where there is a GPU, else :class:`Bfloat16OptimWrapper`."""
    if torch.cuda.is_available():
        optim_wrapper.merge({"type": "AmpOptimWrapper", "loss_scale": "dynamic"})
    else:
        optim_wrapper["type"] = "Bfloat16OptimWrapper"
