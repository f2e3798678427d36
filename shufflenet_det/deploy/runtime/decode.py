"""Decode a head's raw outputs to boxes, in numpy or torch.

``xp`` is the array library: ``torch`` during export, ``numpy`` at run time for formats whose files
end at the head. The metadata of a model describe each level of its head by a dict:

- anchors: ``{"kind": "anchors", "stride": [x, y], "anchors": [[x1, y1, x2, y2], …], "means": …,
  "stds": …, "clip": …}``, with the anchors of the level's first cell;
- points: ``{"kind": "points", "stride": [x, y], "offset": o, "bins": n}``, where the point of the
  cell in row i, column j is ``((j + o) * x, (i + o) * y)``.
"""

from typing import Any

Array = Any


def decode_level(
    level: dict[str, Any], regression: Array, height: int, width: int, xp: Any
) -> Array:
    """Decode one level.

    Args:
        level: The level's description.
        regression: (height * width * anchors, 4) deltas, or (height * width, 4 * bins) logits.
        height: Rows of the level's map.
        width: Columns of the level's map.
        xp: ``numpy`` or ``torch``.

    Returns:
        (n, 4), x1, y1, x2, y2 in pixels of the network's input, not clipped.
    """
    if level["kind"] == "anchors":
        priors = _grid(xp.asarray(level["anchors"], dtype=xp.float32), level, height, width, xp)
        return boxes_from_deltas(priors, regression, level, xp)
    offset = [level["offset"] * stride for stride in level["stride"]]
    first = xp.asarray([offset * 2], dtype=xp.float32)
    points = _grid(first, level, height, width, xp)
    return _boxes_from_bins(points, regression, level, xp)


def boxes_from_deltas(priors: Array, deltas: Array, coder: dict[str, Any], xp: Any) -> Array:
    """Decode deltas of centres and sizes (R-CNN, arXiv:1311.2524, App. C).

    Args:
        priors: Corners, (n, 4) or (n, 1, 4).
        deltas: (n, 4) or (n, classes, 4).
        coder: ``means`` and ``stds`` of the deltas; ``clip``, the largest |log| of a size ratio.
        xp: ``numpy`` or ``torch``.

    Returns:
        Corners, in the shape of the deltas.
    """
    means, stds = (xp.asarray(coder[key], dtype=xp.float32) for key in ("means", "stds"))
    deltas = deltas * stds + means
    size = priors[..., 2:] - priors[..., :2]
    centre = (priors[..., :2] + priors[..., 2:]) * 0.5 + size * deltas[..., :2]
    half = size * xp.exp(xp.clip(deltas[..., 2:], -coder["clip"], coder["clip"])) * 0.5
    return xp.concatenate((centre - half, centre + half), -1)


def _boxes_from_bins(points: Array, logits: Array, level: dict[str, Any], xp: Any) -> Array:
    """Decode distributions of distances (generalised focal loss, arXiv:2006.04388, Sec. 3.2).

    The distance of a side from its point is the mean of 0 … bins - 1 strides under the softmax.
    """
    bins = level["bins"]
    logits = logits.reshape(-1, 4, bins)
    if xp.__name__ == "torch":
        weights = logits.softmax(-1)
    else:
        weights = xp.exp(logits - logits.max(-1, keepdims=True))
        weights = weights / weights.sum(-1, keepdims=True)
    # Multiplied before the sum, since OpenVINO 2026.4 multiplies a sum by a vector wrongly.
    x, y = level["stride"]
    signed = [[-x], [-y], [x], [y]]
    steps = xp.asarray(signed, dtype=xp.float32) * xp.asarray(list(range(bins)), dtype=xp.float32)
    return points + (weights * steps).sum(-1)  # (n, 4)


def _grid(first: Array, level: dict[str, Any], height: int, width: int, xp: Any) -> Array:
    """Repeat the priors of the first cell, (A, 4), at each cell: (height * width * A, 4)."""
    x = (xp.arange(width) * level["stride"][0]).reshape(1, -1, 1)
    y = (xp.arange(height) * level["stride"][1]).reshape(-1, 1, 1)
    zero = x * 0 + y * 0
    corners = [first[:, i] + (y if i % 2 else x) + zero for i in range(4)]  # (height, width, A)
    return xp.stack(corners, -1).reshape(-1, 4)
