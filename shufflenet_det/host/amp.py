"""Mixed-precision training (``--amp``) without a GPU.

mmengine's ``AmpOptimWrapper`` rejects the CPU and Apple's mps, and its ``autocast`` rejects mps.
bfloat16 has the range of float32, so it needs no loss scaling. Remove this module when
``AmpOptimWrapper`` supports both devices.
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
    """An optimizer wrapper that runs forward passes in bfloat16 autocast, on any device."""

    _prepared: nn.Module | None = None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of ``model`` under autocast."""
        if self._prepared is not model:
            self._prepared = keep_depthwise_in_float32(model)
        with super().optim_context(model), torch.autocast(get_device(), torch.bfloat16):
            yield


def keep_depthwise_in_float32(model: nn.Module) -> nn.Module:
    """Exclude the depthwise convolutions of a model, in place, from autocast on a CPU.

    Their backward pass in oneDNN takes four times as long in bfloat16 (torch 2.14).
    """
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d) and conv.groups == conv.in_channels > 1:
            if type(conv)._conv_forward == nn.Conv2d._conv_forward:  # not overridden
                vars(conv)["_conv_forward"] = partial(_convolve, conv)
    return model


def _convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return nn.Conv2d._conv_forward(conv, x, weight, bias)
    with torch.autocast("cpu", enabled=False):
        return nn.Conv2d._conv_forward(conv, x.float(), weight, bias)


def enable(optim_wrapper: ConfigDict) -> None:
    """Switch a config to mixed precision.

    The wrapper is mmengine's ``AmpOptimWrapper`` with dynamic loss scaling on a GPU, otherwise
    :class:`Bfloat16OptimWrapper`.
    """
    if torch.cuda.is_available():
        optim_wrapper.merge({"type": "AmpOptimWrapper", "loss_scale": "dynamic"})
    else:
        optim_wrapper["type"] = "Bfloat16OptimWrapper"
