"""CARAFE (https://arxiv.org/abs/1905.02188): upsampling with one kernel per output cell.

Shapes: features ``(N, C, H, W)``; masks ``(N, groups · k · k, s · H, s · W)``, the kernels of each
group, rows before columns; output ``(N, C, s · H, s · W)``.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernel import forward, gradients


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    **sizes: Any,
) -> None:
    """Write ``output``, and copy the features to ``rfeatures`` for the backward pass."""
    rfeatures.copy_(features)
    output.copy_(forward(partial(_reassemble, **sizes), features, masks))


def carafe_backward(
    top_grad: Tensor, rfeatures: Tensor, masks: Tensor, *buffers: Tensor, **sizes: Any
) -> None:
    """Write the gradients of features and masks to the last two buffers; the others are unused."""
    grads = gradients(partial(_reassemble, **sizes), (rfeatures, masks), top_grad)
    for buffer, grad in zip(buffers[-2:], grads, strict=True):
        buffer.copy_(grad)


def _reassemble(
    features: Tensor, masks: Tensor, kernel_size: int, group_size: int, scale_factor: int
) -> Tensor:
    """Weight the ``kernel_size``² neighbours of each cell for each of its upsampled cells."""
    batch, channels, height, width = features.shape
    cells, taps = (height, width), kernel_size**2
    neighbours = F.unfold(features, kernel_size, padding=kernel_size // 2)
    neighbours = neighbours.view(batch, group_size, channels // group_size, taps, *cells)
    masks = masks.view(batch, group_size, taps, height, scale_factor, width, scale_factor)
    output = torch.einsum("ngcthw,ngthywx->ngchywx", neighbours, masks)
    return output.reshape(batch, channels, height * scale_factor, width * scale_factor)
