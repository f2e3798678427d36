"""Non-maximum suppression: greedy, soft, and with lists of the suppressed boxes.

Shapes: boxes ``(n, 4)``, ``x1, y1, x2, y2``; scores ``(n,)``. The size of a box is
``x2 - x1 + offset`` by ``y2 - y1 + offset``, with an offset of 0 or 1.
"""

import numpy as np
import torch
from torch import Tensor

from .kernel import compute_dtype, kernel


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices, ``(k,)``, of the boxes that greedy NMS keeps.

    A box is kept if its IoU with each kept box of higher score is at most the threshold, which is
    rounded to the precision of the boxes, as in mmcv.
    """
    if boxes.numel() == 0:
        return boxes.new_empty(0, dtype=torch.long)
    dtype = compute_dtype(boxes)
    if offset:
        boxes = boxes.to(dtype) + boxes.new_tensor([0, 0, offset, offset], dtype=dtype)
    threshold = torch.tensor(iou_threshold, dtype=dtype).item()
    return kernel("nms", dtype, boxes.to(dtype), scores.to(dtype), threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (https://arxiv.org/abs/1704.04503): lower the scores of overlapping boxes.

    Args:
        boxes: Boxes on the CPU, like all tensors of this function.
        scores: Scores of the boxes.
        dets: ``(n, 5)``; the kept boxes and their new scores are written to the first ``k`` rows.
        iou_threshold: Minimum IoU to lower a score; not used by method 2.
        sigma: Width of the Gaussian of method 2.
        min_score: A box is dropped when its score falls below this value.
        method: 0 sets the score to 0, 1 multiplies it by ``1 - IoU``, 2 by ``exp(-IoU² / sigma)``.
        offset: See the head of this module.

    Returns:
        Indices of the kept boxes in the order of selection, ``(k,)``, int64.
    """
    dtype = compute_dtype(boxes)
    x1, y1, x2, y2 = boxes.detach().to(dtype).numpy().T
    area = (x2 - x1 + offset) * (y2 - y1 + offset)
    table = np.stack([x1, y1, x2, y2, scores.detach().to(dtype).numpy(), area])  # (6, n)
    index = np.arange(len(area))
    # Columns before `kept` are selected, those from `left` on are dropped.
    kept, left = 0, len(area)
    while kept < left:
        best = kept + _first_best(table[4, kept:left])
        table[:, [kept, best]] = table[:, [best, kept]]
        index[[kept, best]] = index[[best, kept]]
        picked, rest = table[:, kept], table[:, kept + 1 : left]
        overlap = _ious(picked[:4], picked[5], rest[:4], rest[5], offset)
        score = rest[4]
        if method == 0:
            score[overlap >= iou_threshold] = 0
        elif method == 1:
            score *= np.where(overlap >= iou_threshold, 1 - overlap, 1)
        else:
            score *= np.exp(-(overlap * overlap) / sigma)
        kept += 1
        dropped = score < min_score
        if dropped.any():
            order = kept + _close_gaps(~dropped)
            left = kept + len(order)
            table[:, kept:left], index[kept:left] = table[:, order], index[order]
    dets[:left] = torch.from_numpy(table[:5, :left].T)
    return torch.from_numpy(index[:left])


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """NMS of ``x1, y1, x2, y2, score``, ``(n, 5)``, on the CPU, with the groups of boxes.

    Returns:
        A group for each kept box, by descending score: its index, and then the indices of the boxes
        that it suppresses (IoU equal to the threshold or higher), by descending score.
    """
    dets = dets.detach().to(compute_dtype(dets))
    boxes = dets[:, :4].numpy().T
    areas = (boxes[2] - boxes[0]) * (boxes[3] - boxes[1])
    order = dets[:, 4].argsort(descending=True, stable=True).numpy()
    groups = []
    while len(order):
        first, rest = order[0], order[1:]
        overlap = _ious(boxes[:, first], areas[first], boxes[:, rest], areas[rest], 0)
        matched = overlap >= iou_threshold
        groups.append([int(first), *rest[matched].tolist()])
        order = rest[~matched]
    return groups


def _ious(
    box: np.ndarray, area: np.ndarray, boxes: np.ndarray, areas: np.ndarray, offset: int
) -> np.ndarray:
    """IoU of one box ``(4,)`` with boxes ``(4, n)``; NaN for two boxes without area."""
    width = np.minimum(box[2], boxes[2]) - np.maximum(box[0], boxes[0]) + offset
    height = np.minimum(box[3], boxes[3]) - np.maximum(box[1], boxes[1]) + offset
    overlap = np.maximum(width, 0) * np.maximum(height, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return overlap / (area + areas - overlap)


def _first_best(score: np.ndarray) -> int:
    """Position of the highest score: the first of equal ones; a NaN only in first position."""
    best = int(score.argmax())  # the first NaN, if there is one
    if best and np.isnan(score[best]):
        best = int(np.nanargmax(score))
    return best


def _close_gaps(keep: np.ndarray) -> np.ndarray:
    """Kept positions in mmcv's order: the last one moves into the first gap, and so on.

    The order decides which of two boxes with equal scores is selected first.
    """
    order = np.arange(len(keep))
    count = int(keep.sum())
    order[:count][~keep[:count]] = order[count:][keep[count:]][::-1]
    return order[:count]
