"""RoIAlign by mean (https://arxiv.org/abs/1703.06870) and RoIPool
(https://arxiv.org/abs/1504.08083).

Shapes: input ``(N, C, H, W)``; rois ``(n, 5)``, image index and ``x1, y1, x2, y2`` in pixels;
output and argmax ``(n, C, h, w)``. A RoI with NaN or infinity gives 0 and no gradient. All
functions raise IndexError for a RoI of an image outside the batch.

In RoIPool, torchvision rounds a RoI to cells and then divides it into bins, but mmcv divides first.
Therefore the bins are computed here, and torchvision's kernel gets each bin as a RoI with one bin.
"""

from typing import Any

import torch
from torch import Tensor

from .kernel import compute_dtype, kernel
from .rois import bins_of, readable_rois

# Maximum number of output values of RoIPool in one kernel call; limits copies to 200 MiB.
_VALUES_AT_ONCE = 2**24


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **sizes: Any
) -> None:
    """Write ``output``, with 0 for bins without samples.

    With ``sampling_ratio=0``, one sample per cell, boxes that extend far beyond the map are
    clipped, because mmcv would use all memory for them.
    """
    rois, scale, size, sampling = _aligned(rois, input.shape, sizes)
    dtype = compute_dtype(input, cuda_half=True)
    output.copy_(kernel("roi_align", dtype, input, rois, scale, *size, *sampling))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    **sizes: Any,
) -> None:
    """Add the gradient of :func:`roi_align_forward` to ``grad_input``."""
    shape = grad_input.shape
    rois, scale, size, sampling = _aligned(rois, shape, sizes)
    dtype = compute_dtype(grad_output, cuda_half=True)
    grad_input += kernel(
        "_roi_align_backward", dtype, grad_output, rois, scale, *size, *shape, *sampling
    )


def _aligned(
    rois: Tensor, shape: torch.Size, sizes: dict[str, Any]
) -> tuple[Tensor, float, tuple[int, int], tuple[int, bool]]:
    """Safe RoIs, cells per pixel, numbers of bins, and the sampling arguments."""
    if sizes["pool_mode"] != 1:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' needs a compiled mmcv, because shufflenet_det does not "
            "implement it; mmdet's detectors do not use it"
        )
    scale, ratio = sizes["spatial_scale"], sizes["sampling_ratio"]
    rois = readable_rois(rois, shape, scale, cut=ratio <= 0)
    size = sizes["aligned_height"], sizes["aligned_width"]
    return rois, scale, size, (ratio, sizes["aligned"])


def roi_pool_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, spatial_scale: float, **sizes: int
) -> None:
    """Write the maximum of each bin to ``output``, and its cell ``y * W + x`` to ``argmax``.

    An empty bin gives 0 and -1. For a RoI without area, mmcv gives cell 0, which then gets the
    gradient of all bins.
    """
    rois = readable_rois(rois, input.shape, spatial_scale, cut=False)
    at_once = max(1, _VALUES_AT_ONCE // max(1, output[:1].numel()))
    input = input.to(compute_dtype(input))
    parts = (tensor.split(at_once) for tensor in (rois, output, argmax))
    for part, output_part, argmax_part in zip(*parts, strict=True):
        _pool(input, part, output_part, argmax_part, spatial_scale)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    spatial_scale: float,
    **sizes: int,
) -> None:
    """Add the gradient of :func:`roi_pool_forward` to ``grad_input``."""
    rois = readable_rois(rois, grad_input.shape, spatial_scale, cut=False)
    grad_input += kernel(
        "_roi_pool_backward",
        compute_dtype(grad_output),
        grad_output,
        rois,
        argmax,
        spatial_scale,
        *grad_output.shape[2:],
        *grad_input.shape,
    )


def _pool(
    input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, spatial_scale: float
) -> None:
    size = output.shape[2:]
    bins = bins_of(rois.to(input.dtype), input.shape[2:], size, spatial_scale)
    pooled = kernel("roi_pool", input.dtype, input, bins.reshape(-1, 5), 1.0, 1, 1)
    for written, values in zip((output, argmax), pooled, strict=True):
        written.copy_(values.view(-1, *size, input.size(1)).permute(0, 3, 1, 2))
