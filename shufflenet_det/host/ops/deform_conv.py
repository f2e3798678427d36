"""Deformable convolution, v1 (https://arxiv.org/abs/1703.06211) and v2 with a mask
(https://arxiv.org/abs/1811.11168).

torchvision's kernels choose by themselves how many images to take at once, so ``im2col_step``
changes nothing. A sample whose offset is NaN is 0, as in mmcv, and passes no gradient.

Shapes, in all functions here: input ``(N, C_in, H, W)``, weight ``(C_out, C_in / groups, kH, kW)``,
offset ``(N, deformable_groups · kH · kW · 2, H_out, W_out)`` with y before x, mask
``(N, deformable_groups · kH · kW, H_out, W_out)``, output ``(N, C_out, H_out, W_out)``. Offset and
mask of v2 may be larger maps than the output, as mmdet's DyHead gives them: like mmcv's kernel,
which knows the output's shape alone, the first numbers of each image are read as if they had it.
"""

import weakref
from typing import NamedTuple

import torch
from torch import Tensor

from shufflenet_det.host.ops.kernel import compute_dtype, kernel

# Outside of every feature map, and exact in half precision.
_OUTSIDE = 2.0**15


class _Geometry(NamedTuple):
    """The kernels' integer arguments, in their order."""

    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int
    dilation_h: int
    dilation_w: int
    groups: int
    deformable_groups: int


class _Gradients(NamedTuple):
    """What the backward kernel returns, in its order."""

    input: Tensor
    weight: Tensor
    offset: Tensor
    mask: Tensor
    bias: Tensor


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Writes ``output``."""
    geometry = _Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_forward(input, weight, offset, None, None, geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Adds to ``gradInput`` and writes ``gradOffset``.

    torchvision's kernel computes the weight's gradient along with them. It is left at ``columns``,
    mmcv's scratch buffer, for the call of :func:`deform_conv_backward_parameters` that follows.
    """
    geometry = _Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _backward(gradOutput, input, weight, offset, None, geometry)
    gradInput += grads.input
    gradOffset.copy_(grads.offset)
    columns.weight_gradient = weakref.ref(gradOutput), grads.weight  # type: ignore[attr-defined]


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Adds ``scale`` times the weight's gradient to ``gradWeight``.

    Takes it from ``columns`` if :func:`deform_conv_backward_input` has left it there for the same
    ``gradOutput``.
    """
    computed_for, grad = vars(columns).pop("weight_gradient", (None, None))
    if computed_for is None or computed_for() is not gradOutput:
        geometry = _Geometry(dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
        weight = torch.zeros_like(gradWeight)  # its gradient does not depend on its value
        grad = _backward(gradOutput, input, weight, offset, None, geometry).weight
    gradWeight.add_(grad, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Writes ``output``; ``bias``, ``(C_out,)``, is not read unless ``with_bias``."""
    geometry = _Geometry(
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group
    )
    offset, mask = (_shaped(tensor, output.shape) for tensor in (offset, mask))
    output.copy_(_forward(input, weight, offset, mask, bias if with_bias else None, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Adds to ``grad_input``, ``grad_weight`` and ``grad_bias`` (if ``with_bias``), writes the
    other two gradients."""
    geometry = _Geometry(
        stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group
    )
    offset, mask = (_shaped(tensor, grad_output.shape) for tensor in (offset, mask))
    grads = _backward(grad_output, input, weight, offset, mask, geometry)
    grad_input += grads.input
    grad_weight += grads.weight
    if with_bias:
        grad_bias += grads.bias
    for written, grad in ((grad_offset, grads.offset), (grad_mask, grads.mask)):
        flat = written.new_zeros(written.shape).flatten(1)
        flat[:, : grad[0].numel()] = grad.flatten(1)
        written.copy_(flat.view(written.shape))


def _shaped(tensor: Tensor, output: torch.Size) -> Tensor:
    """Offset or mask as the kernel reads it: ``(N, C, H_out, W_out)``, from a map at least that."""
    size = output[2:]
    count = tensor.size(1) * size.numel()
    if tensor.shape[2:] == size or tensor[0].numel() < count:  # the kernel refuses the latter
        return tensor
    return tensor.flatten(1)[:, :count].view(len(tensor), -1, *size)


def _forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    geometry: _Geometry,
) -> Tensor:
    return kernel(
        "deform_conv2d",
        compute_dtype(input, cuda_half=True),
        input,
        weight,
        _numbers(offset),
        input.new_zeros(len(input), 1) if mask is None else mask,
        input.new_zeros(len(weight)) if bias is None else bias,
        *geometry,
        mask is not None,
    )


def _backward(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    geometry: _Geometry,
) -> _Gradients:
    dtype = compute_dtype(input, cuda_half=True)
    offset = _numbers(offset)
    grads = _Gradients(
        *kernel(
            "_deform_conv2d_backward",
            dtype,
            grad_output,
            input,
            weight,
            offset,
            input.new_zeros(len(input), 1) if mask is None else mask,
            input.new_zeros(len(weight)),
            *geometry,
            mask is not None,
        )
    )
    inside = _inside(offset.to(dtype), weight.shape[2:], geometry)
    return grads._replace(offset=grads.offset * inside)


def _numbers(offset: Tensor) -> Tensor:
    """Offsets without NaN, at which torchvision's kernel reads other memory, and infinity."""
    return offset.nan_to_num(nan=-_OUTSIDE, posinf=_OUTSIDE, neginf=-_OUTSIDE)


def _inside(offset: Tensor, kernel_size: torch.Size, geometry: _Geometry) -> Tensor:
    """1 where a sample lies above -1 on both axes, shaped like ``offset``.

    A sample at exactly -1, as many are while the offsets are zero, reads 0. To the right of it
    values fade in, and torchvision takes that slope for the offset's gradient; mmcv takes 0, the
    slope to its left.
    """
    taps_h, taps_w = kernel_size
    batch, _, height, width = offset.shape
    offset = offset.view(batch, geometry.deformable_groups, taps_h, taps_w, 2, height, width)

    def grid(taps: int, dilation: int, size: int, stride: int, pad: int) -> Tensor:
        """Where each tap of each output cell lies without an offset, ``(taps, size)``."""
        tap = torch.arange(taps, device=offset.device)[:, None] * dilation
        return (tap + torch.arange(size, device=offset.device) * stride - pad).to(offset.dtype)

    g = geometry
    y = grid(taps_h, g.dilation_h, height, g.stride_h, g.pad_h)[:, None, :, None]
    x = grid(taps_w, g.dilation_w, width, g.stride_w, g.pad_w)[None, :, None, :]
    inside = (offset[:, :, :, :, 0] + y > -1) & (offset[:, :, :, :, 1] + x > -1)
    return inside[:, :, :, :, None].expand_as(offset).reshape(batch, -1, height, width)
