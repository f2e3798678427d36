"""RoIPool (https://arxiv.org/abs/1504.08083) as mmcv does it, without rounding the RoI.

torchvision rounds a RoI to whole cells before it divides it into bins, mmcv divides first. So the
bins are computed here, and each of them is handed to torchvision's kernel as a RoI of one bin.
"""

import torch
from torch import Tensor

from shufflenet_det.host.ops.kernel import compute_dtype, kernel
from shufflenet_det.host.ops.rois import readable_rois

# Values of the output that are computed at once; bounds the copies to about 200 MiB.
_VALUES_AT_ONCE = 2**24


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Writes the greatest value of each bin.

    Args:
        input: ``(N, C, H, W)``.
        rois: ``(n, 5)``: index of the image, ``x1, y1, x2, y2`` in pixels, both ends included.
        output: ``(n, C, pooled_height, pooled_width)``, overwritten; 0 where a bin is empty.
        argmax: cell of each greatest value, ``y * W + x``, shaped like ``output``; -1 where a bin
            is empty. mmcv leaves 0 there if the RoI has no area, and sends the gradient of all its
            bins to cell 0.
        pooled_height: bins per column.
        pooled_width: bins per row.
        spatial_scale: cells of ``input`` per pixel.

    A RoI with NaN or infinity is empty.

    Raises:
        IndexError: a RoI names an image that is not in the batch.
    """
    rois = readable_rois(rois, input.shape, spatial_scale, cut=False)
    values = input.size(1) * pooled_height * pooled_width  # of one RoI
    at_once = max(1, _VALUES_AT_ONCE // max(1, values))
    input = input.to(compute_dtype(input))
    for part, output_part, argmax_part in zip(
        rois.split(at_once), output.split(at_once), argmax.split(at_once), strict=True
    ):
        _pool(input, part, output_part, argmax_part, spatial_scale)


def _pool(
    input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, spatial_scale: float
) -> None:
    """Writes the bins of some RoIs; shapes as in :func:`roi_pool_forward`."""
    channels, height, width = input.shape[1:]
    pooled_height, pooled_width = output.shape[2:]
    dtype = input.dtype
    rois = rois.to(dtype)
    start = rois[:, 1:3] * spatial_scale
    end = (rois[:, 3:5] + 1) * spatial_scale
    x1, x2 = _bins(start[:, 0], end[:, 0], pooled_width, width)  # (n, pooled_width)
    y1, y2 = _bins(start[:, 1], end[:, 1], pooled_height, height)  # (n, pooled_height)
    x1, x2 = x1[:, None, :], x2[:, None, :]
    y1, y2 = y1[:, :, None], y2[:, :, None]
    well_formed = (end > start).all(1)[:, None, None]
    filled = well_formed & (x2 > x1) & (y2 > y1)  # (n, pooled_height, pooled_width)
    outside = width + height  # where an empty bin is put: out of the map
    corners = (torch.where(filled, corner, outside) for corner in (x1, y1, x2 - 1, y2 - 1))
    image = rois[:, 0, None, None].expand(filled.shape)
    bins = torch.stack([image, *corners], dim=-1)  # (n, pooled_height, pooled_width, 5)
    greatest, cell = kernel("roi_pool", dtype, input, bins.reshape(-1, 5), 1.0, 1, 1)
    by_bin = len(rois), pooled_height, pooled_width, channels
    output.copy_(greatest.view(by_bin).permute(0, 3, 1, 2))
    argmax.copy_(cell.view(by_bin).permute(0, 3, 1, 2))


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Adds the gradient of :func:`roi_pool_forward` to ``grad_input``, ``(N, C, H, W)``."""
    rois = readable_rois(rois, grad_input.shape, spatial_scale, cut=False)
    grad_input += kernel(
        "_roi_pool_backward",
        compute_dtype(grad_output),
        grad_output,
        rois,
        argmax,
        spatial_scale,
        pooled_height,
        pooled_width,
        *grad_input.shape,
    )


def _bins(start: Tensor, end: Tensor, count: int, size: int) -> tuple[Tensor, Tensor]:
    """First cell and the one past the last of each bin along an axis, each ``(n, count)``."""
    edge = torch.arange(count + 1, dtype=start.dtype, device=start.device)
    edges = edge * ((end - start) / count)[:, None] + start[:, None]  # (n, count + 1)
    return edges[:, :-1].floor().clamp(0, size), edges[:, 1:].ceil().clamp(0, size)
