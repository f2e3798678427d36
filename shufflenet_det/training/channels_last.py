"""Training in channels-last memory format, which is faster on a CPU."""

from functools import partial

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn


class ChannelsLast(Hook):
    """Trains with :func:`channels_last`. Checkpoints do not change."""

    def before_train(self, runner: Runner) -> None:
        """Change the model before the first step."""
        channels_last(runner.model)


def channels_last(model: nn.Module) -> nn.Module:
    """Prepare a model for training in channels-last. The results are the same up to rounding.

    On a CPU, the backward pass of oneDNN is slow for two kinds of convolution (torch 2.14).
    Therefore 1x1 convolutions become matrix products, and depthwise convolutions stay in float32
    under bfloat16 autocast.

    Args:
        model: Changed in place. The convolutions keep their classes and parameters.

    Returns:
        The model.
    """
    for conv in model.modules():
        if not isinstance(conv, nn.Conv2d) or type(conv)._conv_forward != nn.Conv2d._conv_forward:
            continue
        geometry = conv.kernel_size, conv.stride, conv.padding, conv.groups
        if geometry == ((1, 1), (1, 1), (0, 0), 1):
            vars(conv)["_conv_forward"] = _pointwise
        elif conv.groups == conv.in_channels > 1:
            vars(conv)["_conv_forward"] = partial(_depthwise, conv)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.device.type != "cpu" or x.ndim != 4 or x.stride(1) != 1:
        return F.conv2d(x, weight, bias)
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


def _depthwise(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return nn.Conv2d._conv_forward(conv, x, weight, bias)
    with torch.autocast("cpu", enabled=False):
        return nn.Conv2d._conv_forward(conv, x.float(), weight, bias)
