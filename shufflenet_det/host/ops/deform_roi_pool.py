"""Deformable RoI pooling (https://arxiv.org/abs/1703.06211): aligned RoIAlign by mean, whose bins
are shifted by offsets.

Shapes: input ``(N, C, H, W)``, rois ``(n, 5)``: index of the image and ``x1, y1, x2, y2`` in
pixels, offset ``(n, 2, h, w)``, x before y, in parts of the RoI over ``gamma``, or empty for none,
output ``(n, C, h, w)``. Half precision is computed in float32.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from shufflenet_det.host.ops.kernel import compute_dtype, gradients
from shufflenet_det.host.ops.rois import readable_rois

# Samples of all channels held at once; bounds memory to a few hundred MiB.
_SAMPLES_AT_ONCE = 2**25


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Writes the mean of each bin's samples; what is malformed is as in RoIAlign."""
    dtype = compute_dtype(input)
    rois = readable_rois(rois, input.shape, spatial_scale, cut=sampling_ratio <= 0)
    shape = pooled_height, pooled_width
    shift = _shifts(offset, rois, shape, dtype)
    output.zero_()
    with torch.autocast(input.device.type, enabled=False):
        for image, part, corners, grid in _parts(
            rois, input.shape, shape, spatial_scale, sampling_ratio
        ):
            pooled = _pool(input[image].to(dtype), shift[part], corners, grid, gamma)
            output[part] = pooled.to(output.dtype)


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """Adds to ``grad_input`` and, unless it is empty, writes ``grad_offset``.

    The offset has no gradient where a sample lies beyond the first or last row or column, as the
    value does not change there. mmcv's kernel takes the slope between the first two.
    """
    rois = readable_rois(rois, input.shape, spatial_scale, cut=sampling_ratio <= 0)
    shape = pooled_height, pooled_width
    shift = _shifts(offset, rois, shape, compute_dtype(input))
    for image, part, corners, grid in _parts(
        rois, input.shape, shape, spatial_scale, sampling_ratio
    ):

        def pool(
            feature: Tensor, shift: Tensor, corners: Tensor = corners, grid: list[int] = grid
        ) -> Tensor:
            return _pool(feature, shift, corners, grid, gamma)

        grads = gradients(pool, (input[image], shift[part]), grad_output[part])
        grad_input[image] += grads[0].to(grad_input.dtype)
        if grad_offset.numel():
            grad_offset[part] = grads[1].to(grad_offset.dtype)


def _shifts(offset: Tensor, rois: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The offsets, zeros where there are none; NaN moves a bin out of the map."""
    if offset.numel() == 0:
        return rois.new_zeros(len(rois), 2, *shape, dtype=dtype)
    return offset.to(dtype).nan_to_num(nan=torch.inf).clamp(-(2.0**20), 2.0**20)


def _parts(
    rois: Tensor, input: torch.Size, shape: tuple[int, int], spatial_scale: float, ratio: int
) -> Iterator[tuple[int, Tensor, Tensor, list[int]]]:
    """RoIs of one image and as many samples a bin.

    Yields:
        Index of the image, indices of the RoIs ``(k,)``, their corners ``(k, 4)`` in cells, and the
        samples a bin has in y and x.
    """
    corners = rois[:, 1:].to(compute_dtype(rois)) * spatial_scale - 0.5  # (n, 4)
    size = corners[:, 2:] - corners[:, :2]  # (n, 2), x before y
    grids = torch.full_like(size, ratio)
    if ratio <= 0:
        grids = (size / size.new_tensor(shape[::-1])).ceil()
    keys = torch.cat([rois[:, :1].to(grids.dtype).trunc(), grids], dim=1)
    for key in keys.unique(dim=0):
        image, samples_x, samples_y = key.int().tolist()
        if samples_x <= 0 or samples_y <= 0:
            continue
        members = (keys == key).all(1).nonzero()[:, 0]
        samples = input[1] * shape[0] * shape[1] * samples_x * samples_y
        for part in members.split(max(1, _SAMPLES_AT_ONCE // max(1, samples))):
            yield image, part, corners[part], [samples_y, samples_x]


def _pool(feature: Tensor, shift: Tensor, corners: Tensor, grid: list[int], gamma: float) -> Tensor:
    """Bins ``(k, C, h, w)`` of RoIs of one feature map ``(C, H, W)``."""
    count, _, height, width = shift.shape
    corners = corners.to(feature.dtype)
    size = corners[:, 2:] - corners[:, :2]

    def coordinates(axis: int, bins: int, samples: int, along: int) -> Tensor:
        """``(k, h, w, samples)`` in cells, of x or y, which has bins along dimension ``along``."""
        sample = torch.arange(samples, device=shift.device, dtype=shift.dtype) + 0.5
        steps = torch.arange(bins, device=shift.device)[:, None] + sample / samples
        steps = steps.view(1, bins, 1, samples) if along == 1 else steps.view(1, 1, bins, samples)
        start = corners[:, axis] + gamma * size[:, axis] * shift[:, axis].permute(1, 2, 0)
        start = start.permute(2, 0, 1)[..., None]  # (k, h, w, 1)
        return start + steps * (size[:, axis] / bins)[:, None, None, None]

    x = coordinates(0, width, grid[1], 2)[:, :, :, None, :]
    y = coordinates(1, height, grid[0], 1)[:, :, :, :, None]
    inside = (x >= -1) & (x <= feature.size(2)) & (y >= -1) & (y <= feature.size(1))
    # grid_sample counts the map from -1 to 1, borders of cells included.
    points = torch.stack(
        torch.broadcast_tensors(
            (2 * x + 1) / feature.size(2) - 1, (2 * y + 1) / feature.size(1) - 1
        ),
        dim=-1,
    )  # (k, h, w, samples_y, samples_x, 2)
    values = F.grid_sample(
        feature[None], points.reshape(1, count, -1, 2), padding_mode="border", align_corners=False
    )  # (1, C, k, h · w · samples)
    values = values.view(-1, *inside.shape) * inside  # (C, k, h, w, samples_y, samples_x)
    return values.mean((-2, -1)).transpose(0, 1)
