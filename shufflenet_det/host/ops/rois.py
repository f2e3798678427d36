"""Make RoIs safe for torchvision's kernels, which do not check their input.

An invalid image index or a NaN coordinate makes the kernels access other memory or crash. A box of
millions of cells with one sample per cell uses all memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .kernel import compute_dtype

# The position of RoIs with invalid coordinates: outside every feature map.
_OUTSIDE = -(2.0**20)
# Larger coordinates overflow in the kernels.
_TOO_FAR = 2.0**60
# Boxes are clipped this many cells beyond the map, or by the map's longer side if that is more.
_BEYOND = 256


def readable_rois(rois: Tensor, shape: torch.Size, spatial_scale: float, cut: bool) -> Tensor:
    """Change the RoIs that a kernel cannot process safely.

    Args:
        rois: ``(n, 5)``: image index and ``x1, y1, x2, y2`` in pixels.
        shape: ``(N, C, H, W)`` of the feature map.
        spatial_scale: Cells of the map per pixel.
        cut: Clip boxes that extend far beyond the map, for one sample per cell.

    Returns:
        Usually ``rois`` unchanged. RoIs with NaN, infinite or very large coordinates are moved out
        of the map, where samples are 0.

    Raises:
        IndexError: A RoI has the index of an image outside the batch.
        ValueError: The feature map is empty.
    """
    if 0 in shape[2:]:
        raise ValueError(f"the feature map of the RoIs is empty: shape {tuple(shape)}")
    if len(rois) == 0:
        return rois
    lowest, highest = (bound.tolist() for bound in rois.detach().aminmax(dim=0))
    if not (lowest[0] > -1 and highest[0] < shape[0]):
        raise IndexError(
            f"RoIs have image indices {lowest[0]:g} to {highest[0]:g}, but the batch has images 0 "
            f"to {shape[0] - 1}"
        )
    side = max(shape[2:])
    reach = max(side, _BEYOND)
    low, high = -reach / spatial_scale, (side + reach) / spatial_scale
    bounds = lowest[1:] + highest[1:]
    known = all(abs(bound) < _TOO_FAR for bound in bounds)
    if known and not (cut and (min(bounds) < low or max(bounds) > high)):
        return rois
    boxes = rois[:, 1:].to(compute_dtype(rois))
    outside = torch.full_like(boxes, _OUTSIDE / spatial_scale)
    cut_boxes = boxes.clamp(low, high) if cut else boxes
    boxes = torch.where((boxes.abs() < _TOO_FAR).all(1, keepdim=True), cut_boxes, outside)
    return torch.cat([rois[:, :1].to(boxes.dtype), boxes], dim=1)


def bins_of(
    rois: Tensor, cells: Sequence[int], size: Sequence[int], spatial_scale: float
) -> Tensor:
    """The bins of RoIPool as RoIs on the map: image index, first cell and last cell.

    Args:
        rois: RoIs in pixels, ``(n, 5)``.
        cells: Height and width of the map.
        size: Numbers of bins of a RoI, h and w.
        spatial_scale: Cells per pixel.

    Returns:
        ``(n, h, w, 5)``; an empty bin is outside the map.
    """
    start = rois[:, [2, 1]] * spatial_scale  # (n, 2), y before x
    end = (rois[:, [4, 3]] + 1) * spatial_scale
    first, last = [], []  # cells of each bin, y and x, which broadcast to (n, h, w)
    for axis, shape in enumerate(((-1, size[0], 1), (-1, 1, size[1]))):
        edge = torch.arange(size[axis] + 1, dtype=rois.dtype, device=rois.device)
        edges = edge * ((end - start)[:, axis, None] / size[axis]) + start[:, axis, None]
        first.append(edges[:, :-1].floor().clamp(0, cells[axis]).view(shape))
        last.append(edges[:, 1:].ceil().clamp(0, cells[axis]).view(shape) - 1)
    well_formed = (end > start).all(1)[:, None, None]
    filled = well_formed & (last[0] >= first[0]) & (last[1] >= first[1])  # (n, h, w)
    outside = torch.full_like(filled, 1, dtype=rois.dtype) * (cells[0] + cells[1])
    corners = [torch.where(filled, edge, outside) for edge in (*first[::-1], *last[::-1])]
    return torch.stack([rois[:, 0, None, None].expand_as(filled), *corners], dim=-1)
