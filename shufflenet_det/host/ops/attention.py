"""Multi-scale deformable attention (Deformable DETR, https://arxiv.org/abs/2010.04159).

mmcv computes it in PyTorch on a CPU, and with its compiled module on a GPU.

Shapes: value ``(N, cells of all levels, heads, D)``; spatial shapes ``(L, 2)``, height before
width; level start index ``(L,)``; sampling locations ``(N, queries, heads, L, points, 2)``, x
before y, 0 to 1 over a map; attention weights ``(N, queries, heads, L, points)``; output
``(N, queries, heads · D)``.
"""

from functools import partial

from torch import Tensor

from .kernel import forward, gradients


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    **sizes: int,
) -> Tensor:
    """Compute the output with mmcv's PyTorch function."""
    attend = partial(_attend, spatial_shapes)
    return forward(attend, value, sampling_locations, attention_weights).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    *written: Tensor,
    **sizes: int,
) -> None:
    """Write the gradients of value, locations and weights."""
    inputs = value, sampling_locations, attention_weights
    grads = gradients(partial(_attend, spatial_shapes), inputs, grad_output)
    for buffer, grad in zip(written, grads, strict=True):
        buffer.copy_(grad)


def _attend(spatial_shapes: Tensor, value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    # A list, because reading each number of a tensor on a GPU is slow.
    return multi_scale_deformable_attn_pytorch(value, spatial_shapes.tolist(), locations, weights)
