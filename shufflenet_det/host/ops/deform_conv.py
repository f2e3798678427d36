"""Deformable convolution v1 (https://arxiv.org/abs/1703.06211), and v2 with a mask
(https://arxiv.org/abs/1811.11168).

A sample with a NaN offset is 0, as in mmcv, and has no gradient.

Shapes: input ``(N, C_in, H, W)``; weight ``(C_out, C_in / groups, kH, kW)``; offset
``(N, deformable_groups · kH · kW · 2, H_out, W_out)``, y before x; mask
``(N, deformable_groups · kH · kW, H_out, W_out)``; output ``(N, C_out, H_out, W_out)``. Offset and
mask of v2 may be larger than the output, as in mmdet's DyHead. As in mmcv's kernel, the first
numbers of each image are then read as a map of the output's size.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .kernel import compute_dtype, kernel

# Outside every feature map, and exact in half precision.
_OUTSIDE = 2.0**15
# mmcv's names of the integer arguments, in the order of the kernels.
_V1 = ("dH", "dW", "padH", "padW", "dilationH", "dilationW", "group", "deformable_group")
_V2 = ("stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", *_V1[-2:])


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **sizes: int,
) -> None:
    """Write ``output``."""
    output.copy_(_call("deform_conv2d", sizes, [input, weight, offset]))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **sizes: int,
) -> None:
    """Add to ``gradInput``, and write ``gradOffset``.

    torchvision's kernel also computes the gradient of the weight. It is attached to ``columns``, a
    scratch buffer of the forward pass, for the next call, :func:`deform_conv_backward_parameters`.
    """
    grad_input, grad_weight, grad_offset, *_ = _backward(gradOutput, sizes, [input, weight, offset])
    gradInput += grad_input
    gradOffset.copy_(grad_offset)
    columns.weight_gradient = grad_weight  # type: ignore[attr-defined]


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **sizes: int,
) -> None:
    """Add ``scale`` times the gradient of the weight to ``gradWeight``."""
    grad = vars(columns).pop("weight_gradient", None)
    if grad is None:
        weight = torch.zeros_like(gradWeight)  # the gradient does not depend on the weight
        grad = _backward(gradOutput, sizes, [input, weight, offset])[1]
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
    with_bias: bool,
    **sizes: int,
) -> None:
    """Write ``output``; ``bias``, ``(C_out,)``, is only used if ``with_bias``."""
    offset, mask = (_shaped(tensor, output.shape) for tensor in (offset, mask))
    inputs = [input, weight, offset, mask, *([bias] if with_bias else [])]
    output.copy_(_call("deform_conv2d", sizes, inputs))


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
    with_bias: bool,
    **sizes: int,
) -> None:
    """Add to ``grad_input``, ``grad_weight``, ``grad_bias`` (``with_bias``); write the others."""
    offset, mask = (_shaped(tensor, grad_output.shape) for tensor in (offset, mask))
    by_input, by_weight, by_offset, by_mask, by_bias = _backward(
        grad_output, sizes, [input, weight, offset, mask]
    )
    grad_input += by_input
    grad_weight += by_weight
    if with_bias:
        grad_bias += by_bias
    for written, grad in ((grad_offset, by_offset), (grad_mask, by_mask)):
        flat = written.new_zeros(written.shape).flatten(1)
        flat[:, : grad[0].numel()] = grad.flatten(1)
        written.copy_(flat.view(written.shape))


def _shaped(tensor: Tensor, output: torch.Size) -> Tensor:
    """Reshape an offset or mask of at least the output's size to ``(N, C, H_out, W_out)``."""
    size = output[2:]
    count = tensor.size(1) * size.numel()
    if tensor.shape[2:] == size or tensor[0].numel() < count:  # the kernel raises for too few
        return tensor
    return tensor.flatten(1)[:, :count].view(len(tensor), -1, *size)


def _geometry(sizes: Mapping[str, int]) -> list[int]:
    return [sizes[name] for name in (_V1 if "dH" in sizes else _V2)]


def _call(
    name: str, sizes: Mapping[str, int], inputs: Sequence[Tensor], grads: Sequence[Tensor] = ()
) -> Any:
    """Call a kernel of torchvision with input, weight, offset and optionally mask and bias.

    NaN and infinite offsets are replaced, because the kernel would read other memory.
    """
    input, weight, offset, *rest = inputs
    mask = rest[0] if rest else input.new_zeros(len(input), 1)
    bias = rest[1] if len(rest) > 1 else input.new_zeros(len(weight))
    return kernel(
        name,
        compute_dtype(input, cuda_half=True),
        *grads,
        input,
        weight,
        offset.nan_to_num(nan=-_OUTSIDE, posinf=_OUTSIDE, neginf=-_OUTSIDE),
        mask,
        bias,
        *_geometry(sizes),
        bool(rest),
    )


def _backward(
    grad_output: Tensor, sizes: Mapping[str, int], inputs: Sequence[Tensor]
) -> list[Tensor]:
    """Gradients of input, weight, offset, mask and bias.

    Samples at exactly -1, which are common while offsets are zero, read 0. Values increase to the
    right of -1 and are constant to the left. For the gradient of the offset, torchvision takes the
    slope on the right; mmcv, and this function, take the slope on the left, 0.
    """
    grads = list(_call("_deform_conv2d_backward", sizes, inputs, [grad_output]))
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, _, groups = _geometry(sizes)
    taps_h, taps_w = inputs[1].shape[2:]
    offset = inputs[2].nan_to_num(nan=-_OUTSIDE)
    offset = offset.to(grads[2].dtype).unflatten(1, (groups, taps_h, taps_w, 2))

    def grid(taps: int, dilation: int, size: int, stride: int, pad: int) -> Tensor:
        """Coordinates of each kernel tap for each output cell, without offset, ``(taps, size)``."""
        tap = torch.arange(taps, device=offset.device)[:, None] * dilation
        return (tap + torch.arange(size, device=offset.device) * stride - pad).to(offset.dtype)

    y = grid(taps_h, dilation_h, offset.size(-2), stride_h, pad_h)[:, None, :, None]
    x = grid(taps_w, dilation_w, offset.size(-1), stride_w, pad_w)[None, :, None, :]
    inside = (offset[:, :, :, :, 0] + y > -1) & (offset[:, :, :, :, 1] + x > -1)
    inside = inside[:, :, :, :, None].expand_as(offset)
    grads[2] = grads[2] * inside.reshape(grads[2].shape)
    return grads
