"""Deformable convolution, v1 (https://arxiv.org/abs/1703.06211) and v2 with a mask
(https://arxiv.org/abs/1811.11168).

A sample whose offset is NaN is 0, as in mmcv, and passes no gradient.

Shapes, in all functions here: input ``(N, C_in, H, W)``, weight ``(C_out, C_in / groups, kH, kW)``,
offset ``(N, deformable_groups · kH · kW · 2, H_out, W_out)`` with y before x, mask
``(N, deformable_groups · kH · kW, H_out, W_out)``, output ``(N, C_out, H_out, W_out)``. Offset and
mask of v2 may be larger maps than the output, as mmdet's DyHead gives them: like mmcv's kernel,
which knows the output's shape alone, the first numbers of each image are read as if they had it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .kernel import compute_dtype, kernel

# Outside of every feature map, and exact in half precision.
_OUTSIDE = 2.0**15
# mmcv's names of the kernels' integers, in their order.
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
    """Writes ``output``."""
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
    """Adds to ``gradInput`` and writes ``gradOffset``.

    torchvision's kernel computes the weight's gradient along with them. It is left at ``columns``,
    a forward pass's own scratch buffer, for :func:`deform_conv_backward_parameters`, which follows.
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
    """Adds ``scale`` times the weight's gradient to ``gradWeight``."""
    grad = vars(columns).pop("weight_gradient", None)
    if grad is None:
        weight = torch.zeros_like(gradWeight)  # its gradient does not depend on its value
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
    """Writes ``output``; ``bias``, ``(C_out,)``, is not read unless ``with_bias``."""
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
    """Adds to ``grad_input``, ``grad_weight`` and ``grad_bias`` (if ``with_bias``), writes the
    other two gradients."""
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
    """Offset or mask as the kernel reads it: ``(N, C, H_out, W_out)``, from a map at least that."""
    size = output[2:]
    count = tensor.size(1) * size.numel()
    if tensor.shape[2:] == size or tensor[0].numel() < count:  # the kernel refuses the latter
        return tensor
    return tensor.flatten(1)[:, :count].view(len(tensor), -1, *size)


def _geometry(sizes: Mapping[str, int]) -> list[int]:
    return [sizes[name] for name in (_V1 if "dH" in sizes else _V2)]


def _call(
    name: str, sizes: Mapping[str, int], inputs: Sequence[Tensor], grads: Sequence[Tensor] = ()
) -> Any:
    """A kernel of torchvision's, of input, weight, offset and, if there are any, mask and bias.

    Offsets are passed without NaN, at which the kernel reads other memory, and infinity.
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
    """Gradients by input, weight, offset, mask and bias.

    A sample at exactly -1, as many are while the offsets are zero, reads 0. To the right of it
    values fade in, and torchvision takes that slope for the offset's gradient; mmcv takes 0, the
    slope to its left, as is done here.
    """
    grads = list(_call("_deform_conv2d_backward", sizes, inputs, [grad_output]))
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, _, groups = _geometry(sizes)
    taps_h, taps_w = inputs[1].shape[2:]
    offset = inputs[2].nan_to_num(nan=-_OUTSIDE)
    offset = offset.to(grads[2].dtype).unflatten(1, (groups, taps_h, taps_w, 2))

    def grid(taps: int, dilation: int, size: int, stride: int, pad: int) -> Tensor:
        """Where each tap of each output cell lies without an offset, ``(taps, size)``."""
        tap = torch.arange(taps, device=offset.device)[:, None] * dilation
        return (tap + torch.arange(size, device=offset.device) * stride - pad).to(offset.dtype)

    y = grid(taps_h, dilation_h, offset.size(-2), stride_h, pad_h)[:, None, :, None]
    x = grid(taps_w, dilation_w, offset.size(-1), stride_w, pad_w)[None, :, None, :]
    inside = (offset[:, :, :, :, 0] + y > -1) & (offset[:, :, :, :, 1] + x > -1)
    inside = inside[:, :, :, :, None].expand_as(offset)
    grads[2] = grads[2] * inside.reshape(grads[2].shape)
    return grads
