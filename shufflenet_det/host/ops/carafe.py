"""CARAFE (https://arxiv.org/abs/1905.02188): upsampling by a kernel of each output cell's own.

Shapes: features ``(N, C, H, W)``, masks ``(N, groups · k · k, s · H, s · W)`` with the kernels of
each group, rows before columns, output ``(N, C, s · H, s · W)``. Half precision is computed in
float32.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from shufflenet_det.host.ops.kernel import compute_dtype, gradients


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Writes ``output``."""
    dtype = compute_dtype(features)
    with torch.autocast(features.device.type, enabled=False):
        upsampled = _reassemble(
            kernel_size, group_size, scale_factor, features.to(dtype), masks.to(dtype)
        )
    output.copy_(upsampled)


def carafe_naive_backward(
    top_grad: Tensor,
    features: Tensor,
    masks: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Writes the gradients by features and masks."""
    function = partial(_reassemble, kernel_size, group_size, scale_factor)
    grads = gradients(function, (features, masks), top_grad)
    bottom_grad.copy_(grads[0])
    mask_grad.copy_(grads[1])


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Writes ``output``, and the features into ``rfeatures``, which is all that backward gets."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(
    top_grad: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rtop_grad: Tensor,
    rbottom_grad_hs: Tensor,
    rbottom_grad: Tensor,
    rmask_grad: Tensor,
    bottom_grad: Tensor,
    mask_grad: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Writes the gradients by features and masks; the other buffers are mmcv's scratch."""
    carafe_naive_backward(
        top_grad, rfeatures, masks, bottom_grad, mask_grad, kernel_size, group_size, scale_factor
    )


def _reassemble(kernel: int, groups: int, scale: int, features: Tensor, masks: Tensor) -> Tensor:
    """Each cell's ``kernel`` x ``kernel`` neighbours, weighted for each of its upsampled cells."""
    batch, channels, height, width = features.shape
    taps = kernel * kernel
    neighbours = F.unfold(features, kernel, padding=kernel // 2)
    neighbours = neighbours.view(batch, groups, channels // groups, taps, height, width)
    masks = masks.view(batch, groups, taps, height, scale, width, scale)
    output = torch.einsum("ngcthw,ngthywx->ngchywx", neighbours, masks)
    return output.reshape(batch, channels, height * scale, width * scale)
