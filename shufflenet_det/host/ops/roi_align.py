"""RoIAlign (https://arxiv.org/abs/1703.06870): each bin is the mean or maximum of its samples."""

import torch
import torch.nn.functional as F
from torch import Tensor

from shufflenet_det.host.ops.kernel import compute_dtype, kernel
from shufflenet_det.host.ops.rois import readable_rois

_MAX, _AVG = 0, 1
# Samples held at once by max pooling; bounds its memory to a few hundred MiB.
_SAMPLES_AT_ONCE = 2**25


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Writes the pooled features.

    Args:
        input: ``(N, C, H, W)``.
        rois: ``(n, 5)``: index of the image, ``x1, y1, x2, y2`` in pixels of the image.
        output: ``(n, C, aligned_height, aligned_width)``, overwritten.
        argmax_y: y of each bin's greatest sample, in cells of ``input``, shaped like ``output``;
            -1 if the bin has no sample. Not touched by average pooling.
        argmax_x: the same for x.
        aligned_height: bins per column.
        aligned_width: bins per row.
        spatial_scale: cells of ``input`` per pixel.
        sampling_ratio: samples per bin and axis; 0 for one per cell, rounded up.
        pool_mode: 0 for the maximum, 1 for the mean.
        aligned: shifts the RoI by half a cell and lets it be smaller than one.

    A bin without samples is 0 in both modes, where mmcv's maximum over nothing is -10000 on the
    CPU and -3.4e38 on CUDA. A RoI with NaN or infinity is 0, and with a ``sampling_ratio`` of 0 a
    box is cut that reaches far beyond the map (:mod:`shufflenet_det.host.ops.rois`); mmcv reads
    other memory for the one and takes all of it for the other.

    Raises:
        IndexError: a RoI names an image that is not in the batch.
    """
    shape = aligned_height, aligned_width
    rois = readable_rois(rois, input.shape, spatial_scale, cut=sampling_ratio <= 0)
    if pool_mode == _MAX:
        _max_forward(
            input, rois, output, argmax_y, argmax_x, shape, spatial_scale, sampling_ratio, aligned
        )
        return
    dtype = compute_dtype(input, cuda_half=True)
    pooled = kernel("roi_align", dtype, input, rois, spatial_scale, *shape, sampling_ratio, aligned)
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Adds the gradient of :func:`roi_align_forward` to ``grad_input``, ``(N, C, H, W)``."""
    rois = readable_rois(rois, grad_input.shape, spatial_scale, cut=sampling_ratio <= 0)
    if pool_mode == _MAX:
        grad_input += _max_backward(grad_output, rois, argmax_y, argmax_x, grad_input.shape)
        return
    grad_input += kernel(
        "_roi_align_backward",
        compute_dtype(grad_output, cuda_half=True),
        grad_output,
        rois,
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )


def _max_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    shape: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> None:
    """Averages over bins of one sample each are the samples; RoIs with equal grids go together."""
    output.zero_()
    argmax_y.fill_(-1)
    argmax_x.fill_(-1)
    dtype = compute_dtype(input)
    corners = rois[:, 1:].to(dtype) * spatial_scale - (0.5 if aligned else 0.0)
    start, end = corners[:, [1, 0]], corners[:, [3, 2]]  # (n, 2), y before x
    size = end - start if aligned else (end - start).clamp(min=1)
    if sampling_ratio > 0:
        grids = torch.full_like(size, sampling_ratio)
    else:
        grids = (size / size.new_tensor(shape)).ceil().clamp(min=0)

    for grid in grids.unique(dim=0):
        samples_y, samples_x = (grid * grid.new_tensor(shape)).int().tolist()
        if samples_y * samples_x == 0:
            continue
        window = samples_y // shape[0], samples_x // shape[1]
        members = (grids == grid).all(1).nonzero()[:, 0]
        at_once = max(1, _SAMPLES_AT_ONCE // max(1, input.size(1) * samples_y * samples_x))
        for part in members.split(at_once):
            samples = kernel(
                "roi_align", dtype, input, rois[part], spatial_scale, samples_y, samples_x, 1,
                aligned,
            )  # (k, C, samples_y, samples_x)  # fmt: skip
            best, position = F.max_pool2d(samples, window, return_indices=True)
            y = _sample_at(start[part, 0], size[part, 0], position // samples_x, samples_y)
            x = _sample_at(start[part, 1], size[part, 1], position % samples_x, samples_x)
            output[part] = best.to(output.dtype)
            argmax_y[part] = y.to(argmax_y.dtype)
            argmax_x[part] = x.to(argmax_x.dtype)


def _sample_at(start: Tensor, size: Tensor, index: Tensor, count: int) -> Tensor:
    """Coordinate of the ``index``-th of ``count`` samples, ``(k, C, h, w)``, of RoIs ``(k,)``."""
    return start[:, None, None, None] + (index + 0.5) * (size / count)[:, None, None, None]


def _max_backward(
    grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, shape: torch.Size
) -> Tensor:
    """Average RoIAlign's gradient with a RoI of no size around each greatest sample.

    The greatest samples differ between channels, so each channel counts as an image.
    """
    dtype = compute_dtype(grad_output)
    channels = torch.arange(shape[1], device=rois.device)
    plane = rois[:, :1].to(dtype) * shape[1] + channels  # (n, C)
    x, y = argmax_x.to(dtype) + 0.5, argmax_y.to(dtype) + 0.5
    points = torch.stack([plane[:, :, None, None].expand_as(x), x, y, x, y], dim=-1)
    grad = torch.where(argmax_y == -1, 0, grad_output)
    planes = shape[0] * shape[1], 1, shape[2], shape[3]
    grad_planes = kernel(
        "_roi_align_backward", dtype, grad.reshape(-1, 1, 1, 1), points.reshape(-1, 5), 1.0, 1, 1,
        *planes, 1, True,
    )  # (N·C, 1, H, W)  # fmt: skip
    return grad_planes.view(shape)
