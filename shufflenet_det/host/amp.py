"""Lets ``--amp`` train where there is no GPU.

mmengine's ``AmpOptimWrapper`` refuses the CPU and Apple's mps, and its ``autocast`` mps. bfloat16
has float32's range, so no loss scaling is needed. Ends with an ``AmpOptimWrapper`` that takes both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """An optimiser wrapper whose forward passes run in bfloat16 autocast, on any device."""

    _prepared: nn.Module | None = None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of ``model`` under autocast."""
        if self._prepared is not model:
            self._prepared = keep_depthwise_in_float32(model)
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield


def keep_depthwise_in_float32(model: nn.Module) -> nn.Module:
    """Exempt the depthwise convolutions of a model, changed in place, from autocast on a CPU.

    In bfloat16, oneDNN takes four times as long for their backward pass (torch 2.14).
    """
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d) and conv.groups == conv.in_channels > 1:
            if type(conv)._conv_forward == nn.Conv2d._conv_forward:  # not a convolution of its own
                vars(conv)["_conv_forward"] = partial(_convolve, conv)
    return model


def _convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return nn.Conv2d._conv_forward(conv, x, weight, bias)
    with torch.autocast("cpu", enabled=False):
        return nn.Conv2d._conv_forward(conv, x.float(), weight, bias)


def enable(optim_wrapper: ConfigDict) -> None:
    """Change a config to mixed precision: mmengine's ``AmpOptimWrapper`` with dynamic loss scaling
    where there is a GPU, else :class:`Bfloat16OptimWrapper`."""
    if torch.cuda.is_available():
        optim_wrapper.merge({"type": "AmpOptimWrapper", "loss_scale": "dynamic"})
    else:
        optim_wrapper["type"] = "Bfloat16OptimWrapper"
