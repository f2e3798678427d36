"""RoIs that torchvision's kernels can read.

They trust their input: an image's index out of range, or a coordinate that is no number, lets them
read and write other memory or end the process, and a box of millions of cells with one sample a
cell takes all memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .kernel import compute_dtype

# Where a RoI is put that has no place: outside of every feature map.
_OUTSIDE = -(2.0**20)
# Coordinates from here on overflow when the kernels compute with them.
_TOO_FAR = 2.0**60
# A box is followed so many cells beyond the map, or the map's own side if that is more.
_BEYOND = 256


def readable_rois(rois: Tensor, shape: torch.Size, spatial_scale: float, cut: bool) -> Tensor:
    """The RoIs, changed only where a kernel could not read them.

    Args:
        rois: ``(n, 5)``: index of the image, ``x1, y1, x2, y2`` in pixels.
        shape: ``(N, C, H, W)`` of the feature map.
        spatial_scale: cells of the map per pixel.
        cut: cuts what reaches far beyond the map: for one sample a cell, most of them outside.

    Returns:
        ``rois`` itself in the usual case. A RoI with NaN, infinity or a number near it is moved out
        of the map: samples that are not inside are 0.

    Raises:
        IndexError: a RoI names an image that is not in the batch.
        ValueError: the map has no cells.
    """
    if 0 in shape[2:]:
        raise ValueError(f"RoIs of a feature map without cells, of shape {tuple(shape)}")
    if len(rois) == 0:
        return rois
    lowest, highest = (bound.tolist() for bound in rois.detach().aminmax(dim=0))
    if not (lowest[0] > -1 and highest[0] < shape[0]):
        raise IndexError(
            f"RoIs are of images {lowest[0]:g} to {highest[0]:g}, and the batch has images 0 to "
            f"{shape[0] - 1}"
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
    """The bins of RoIPool as RoIs on the map: index of the image and first and last cells.

    Args:
        rois: ``(n, 5)``.
        cells: Height and width of the map.
        size: Bins of a RoI, h and w.
        spatial_scale: Cells per pixel.

    Returns:
        ``(n, h, w, 5)``; an empty bin lies out of the map.
    """
    start = rois[:, [2, 1]] * spatial_scale  # (n, 2), y before x
    end = (rois[:, [4, 3]] + 1) * spatial_scale
    first, last = [], []  # cells of each bin, y and x, in shapes that make (n, h, w) of both
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
