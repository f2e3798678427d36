"""Deformable RoI pooling (https://arxiv.org/abs/1703.06211): RoIAlign with shifted bins.

Shapes: input ``(N, C, H, W)``; rois ``(n, 5)``, image index and ``x1, y1, x2, y2`` in pixels;
offset ``(n, 2, h, w)``, x before y, as fractions of the RoI's size divided by ``gamma``, or empty;
output ``(n, C, h, w)``. Half precision is computed in float32. Malformed RoIs are handled as in
RoIAlign.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .kernel import compute_dtype, forward, gradients
from .rois import readable_rois

# Maximum number of samples of all channels in memory, a few hundred MiB.
_SAMPLES_AT_ONCE = 2**25


def deform_roi_pool_forward(
    input: Tensor, rois: Tensor, offset: Tensor, output: Tensor, **sizes: Any
) -> None:
    """Write the mean of the samples of each bin."""
    output.zero_()
    for image, part, pool, shift in _parts(input, rois, offset, **sizes):
        output[part] = forward(pool, input[image], shift).to(output.dtype)


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    **sizes: Any,
) -> None:
    """Add to ``grad_input``, and write ``grad_offset`` unless it is empty.

    Samples beyond the first or last row or column give no gradient to the offset, because the value
    is constant there. mmcv's kernel takes the slope between the first two rows or columns.
    """
    for image, part, pool, shift in _parts(input, rois, offset, **sizes):
        by_feature, by_shift = gradients(pool, (input[image], shift), grad_output[part])
        grad_input[image] += by_feature.to(grad_input.dtype)
        if grad_offset.numel():
            grad_offset[part] = by_shift.to(grad_offset.dtype)


def _parts(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> Iterator[tuple[int, Tensor, Callable[..., Tensor], Tensor]]:
    """Group the RoIs by image and number of samples per bin.

    Yields:
        Index of the image, indices of the RoIs ``(k,)``, a function that pools them from a feature
        map and shifts, and the shifts ``(k, 2, h, w)``, zeros without offsets. NaN moves a bin out
        of the map.
    """
    rois = readable_rois(rois, input.shape, spatial_scale, cut=sampling_ratio <= 0)
    shape = pooled_height, pooled_width
    dtype = compute_dtype(input)
    shifts = offset.to(dtype).nan_to_num(nan=torch.inf).clamp(-(2.0**20), 2.0**20)
    if offset.numel() == 0:
        shifts = rois.new_zeros(len(rois), 2, *shape, dtype=dtype)
    corners = rois[:, 1:].to(compute_dtype(rois)) * spatial_scale - 0.5  # (n, 4)
    size = corners[:, 2:] - corners[:, :2]  # (n, 2), x before y
    grids = torch.full_like(size, sampling_ratio)
    if sampling_ratio <= 0:
        grids = (size / size.new_tensor(shape[::-1])).ceil()
    keys = torch.cat([rois[:, :1].to(grids.dtype).trunc(), grids], dim=1)
    for key in keys.unique(dim=0):
        image, *grid = key.int().tolist()
        if min(grid) <= 0:
            continue
        members = (keys == key).all(1).nonzero()[:, 0]
        samples = input.size(1) * pooled_height * pooled_width * grid[0] * grid[1]
        for part in members.split(max(1, _SAMPLES_AT_ONCE // max(1, samples))):
            yield image, part, partial(_pool, corners[part].to(dtype), grid, gamma), shifts[part]


def _pool(
    corners: Tensor, grid: tuple[int, int], gamma: float, feature: Tensor, shift: Tensor
) -> Tensor:
    """Bins ``(k, C, h, w)`` of RoIs on a feature map ``(C, H, W)``, with ``grid`` samples each."""
    axes = []  # coordinates in cells of x, (k, h, w, 1, samples), and of y, (k, h, w, samples, 1)
    for axis, (samples, dim) in enumerate(zip(grid, (3, 2), strict=True)):
        bins = shift.size(dim)
        size = corners[:, axis + 2] - corners[:, axis]
        start = corners[:, axis, None, None] + gamma * size[:, None, None] * shift[:, axis]
        sample = torch.arange(samples, device=shift.device, dtype=shift.dtype) + 0.5
        steps = torch.arange(bins, device=shift.device)[:, None] + sample / samples
        steps = steps.view((1, bins, samples) if axis == 0 else (bins, 1, samples))
        places = start[..., None] + steps * (size / bins)[:, None, None, None]
        axes.append(places.unsqueeze(-2 if axis == 0 else -1))
    x, y = axes
    inside = (x >= -1) & (x <= feature.size(2)) & (y >= -1) & (y <= feature.size(1))
    # In grid_sample, the map extends from -1 to 1, including the borders of the outer cells.
    scaled = (2 * x + 1) / feature.size(2) - 1, (2 * y + 1) / feature.size(1) - 1
    points = torch.stack(torch.broadcast_tensors(*scaled), dim=-1)
    values = F.grid_sample(
        feature[None],
        points.reshape(1, len(shift), -1, 2),
        padding_mode="border",
        align_corners=False,
    )  # (1, C, k, h · w · samples)
    values = values.view(-1, *inside.shape) * inside  # (C, k, h, w, samples_y, samples_x)
    return values.mean((-2, -1)).transpose(0, 1)
