"""What stands before and behind a network in an ONNX file: preprocessing, NMS, RoI pooling.

Nodes are added to the graph that torch has exported, all of them standard operators. Values are
``onnx_ir.Value``; shapes are given in comments where they help.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

Value = ir.Value
Parts = tuple[Value, Value, Value]


class GraphBuilder:
    """Operators by name: ``ops.Add(a, b)``; numpy arrays and numbers become initializers."""

    def __init__(self, graph: ir.Graph, prefix: str) -> None:
        """Add to a graph; names begin with the prefix, by which nodes are found again."""
        self._tape = Tape(graph)
        self._prefix = prefix
        self._count = 0

    def __getattr__(self, op_type: str) -> Any:
        """The operator of this name; ``num_outputs=n`` returns n values."""

        def add(*inputs: Any, num_outputs: int = 1, **attributes: Any) -> Any:
            self._count += 1
            values = [self.value(item) for item in inputs]
            if op_type == "Split":
                attributes["num_outputs"] = num_outputs
            name = f"{self._prefix}/{op_type}_{self._count}"
            outs = [ir.Value(name=f"{name}_{i}") for i in range(num_outputs)]
            self._tape.op_multi_out(op_type, values, attributes, outputs=outs, name=name)
            return outs[0] if num_outputs == 1 else outs

        return add

    def value(self, item: Any) -> Value | None:
        """A value as it is, or an initializer of a numpy array."""
        if item is None or isinstance(item, Value):
            return item
        self._count += 1
        array = np.asarray(item)
        name = f"{self._prefix}/const_{self._count}"
        return self._tape.initializer(ir.tensor(array, name=name), name=name)

    def ints(self, *numbers: int) -> np.ndarray:
        """A vector of int64."""
        return np.asarray(numbers, np.int64)

    def columns(self, x: Value, start: int, stop: int) -> Value:
        """``x[..., start:stop]``."""
        return self.Slice(x, self.ints(start), self.ints(stop), self.ints(-1))


class Frame(NamedTuple):
    """Where an image lies in the network's input: four values each, x, y, x, y.

    Attributes:
        limits: Width and height within which boxes are clipped.
        offset: Of the image's corner; None: 0.
        ratio: Pixels of the input per pixel of the image.
        size: Width and height of the image itself.
    """

    limits: Value
    offset: Value | None
    ratio: Value
    size: Value


def add_preprocessing(ops: GraphBuilder, image: Value, spec: dict[str, Any]) -> tuple[Value, Frame]:
    """Resize, normalise and pad as the model was tested.

    Args:
        ops: Where to.
        image: (H, W, 3), uint8, RGB.
        spec: ``input`` of the metadata, see :mod:`shufflenet_det.deploy.spec`.

    Returns:
        The network's input (1, 3, h, w), float, and where the image lies in it.
    """
    fixed = spec["resize"] != "keep"
    size: Any = ops.Slice(ops.Shape(image), ops.ints(0), ops.ints(2))
    full = ops.ints(spec.get("height", 0), spec.get("width", 0))
    new: Any = ops.value(full)
    over: Any = ops.value(full)
    under: Any = size  # the resize's factor as a fraction, rows and columns
    if not fixed or spec.get("keep_ratio"):
        long, short = ops.ReduceMax(size, keepdims=1), ops.ReduceMin(size, keepdims=1)
        if fixed:
            (most, least), (long, short) = full, (_at(ops, size, 0), _at(ops, size, 1))
        else:
            most, least = max(spec["scale"]), min(spec["scale"])
        most, least = ops.ints(most), ops.ints(least)
        by_long = ops.LessOrEqual(ops.Mul(short, most), ops.Mul(long, least))
        over = ops.Expand(ops.Where(by_long, most, least), ops.ints(2))
        under = ops.Expand(ops.Where(by_long, long, short), ops.ints(2))
    if not fixed:
        # Whole numbers throughout: mmcv rounds halves up.
        doubled = ops.Add(ops.Mul(ops.Mul(size, over), ops.ints(2)), under)
        new = over = ops.Div(doubled, ops.Mul(under, ops.ints(2)))
        under = size
    offset: Any = None
    if spec["resize"] == "warp":
        spare = None
        if spec["keep_ratio"]:  # twice the border, in parts 1 / over of a pixel of the image
            spare = ops.Sub(ops.Mul(full, under), ops.Mul(size, over))
            offset = _quotient(ops, spare, ops.Mul(under, ops.ints(2)))
        x = _warp(ops, image, new, (over, under), spare)
    else:
        x = _resize(ops, image, new, (over, under))
    x = ops.Unsqueeze(ops.Transpose(x, perm=[2, 0, 1]), ops.ints(0))
    if spec["channels"] == "BGR":
        x = ops.Gather(x, ops.ints(2, 1, 0), axis=1)
    mean, std = (np.asarray(spec[key], np.float32).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    x = ops.Div(ops.Sub(x, mean), std)
    divisor = spec["pad_divisor"]
    if not fixed or (full % divisor).any():
        over_full = ops.Mod(new, ops.ints(divisor))
        excess = ops.Mod(ops.Sub(ops.ints(divisor), over_full), ops.ints(divisor))
        pads = ops.Concat(ops.ints(0, 0, 0, 0, 0, 0), excess, axis=0)
        x = ops.Pad(x, pads, np.float32(spec["pad_value"]))
    if fixed:  # which inference of shapes cannot always find
        x = ops.Reshape(x, ops.ints(1, 3, *(-(-full // divisor) * divisor)))

    def turned(value: Any) -> Value:
        return ops.Cast(ops.Gather(value, ops.ints(1, 0, 1, 0)), to=ir.DataType.FLOAT)

    ratio = _quotient(ops, over, under, 1 << 16)
    return x, Frame(
        turned(new), None if offset is None else turned(offset), turned(ratio), turned(size)
    )


def _at(ops: GraphBuilder, vector: Value, index: int) -> Value:
    """One element of a vector, as a vector."""
    return ops.Slice(vector, ops.ints(index), ops.ints(index + 1))


def _quotient(ops: GraphBuilder, over: Any, under: Any, parts: int = 1) -> Value:
    """The float nearest to a fraction of whole numbers.

    OpenVINO multiplies by the reciprocal, which is off by one bit for half of all quotients: here
    only by one bit of what is less than one of so many ``parts`` of 1.
    """
    if parts > 1:
        over = ops.Mul(over, np.int64(parts))
    whole = ops.Div(over, under)
    rest = ops.Sub(over, ops.Mul(whole, under))
    whole, rest, under = (ops.Cast(value, to=ir.DataType.FLOAT) for value in (whole, rest, under))
    quotient = ops.Add(whole, ops.Div(rest, under))
    return ops.Mul(quotient, np.float32(1 / parts)) if parts > 1 else quotient


def _corners(
    ops: GraphBuilder, image: Value, places: Sequence[Value], border: int = 0
) -> tuple[Value, Value, list[Value]]:
    """What an interpolation reads: (H, W, 3) at places (h,) and (w,), ``border`` pixels within.

    Returns:
        The left and the right pixel, (2 h, w, 3), float, first of all upper, then of all lower
        rows, and the weights of the lower, (h, 1, 1), and of the right ones, (w, 1).
    """
    size = ops.Shape(image)
    indices, weights = [], []
    for axis, place in enumerate(places):
        before = ops.Floor(place)
        weights.append(ops.Reshape(ops.Sub(place, before), ops.ints(-1, *([1] * (2 - axis)))))
        first = ops.Add(ops.Cast(before, to=ir.DataType.INT64), np.int64(border))
        last = ops.Sub(_at(ops, size, axis), ops.ints(1))
        both = first, ops.Add(first, np.int64(1))
        indices.append([ops.Min(ops.Max(index, np.int64(0)), last) for index in both])
    rows = ops.Gather(image, ops.Concat(*indices[0], axis=0), axis=0)
    left, right = (
        ops.Cast(ops.Gather(rows, index, axis=1), to=ir.DataType.FLOAT) for index in indices[1]
    )
    return left, right, weights


def _steps(ops: GraphBuilder, number: Value, axis: int) -> Value:
    """0, 1, … up to an element of a vector, int64."""
    return ops.Range(np.int64(0), ops.Squeeze(_at(ops, number, axis), ops.ints(0)), np.int64(1))


def _resize(ops: GraphBuilder, image: Value, new: Value, ratio: tuple[Value, Value]) -> Value:
    """``cv2.resize``, linear: (H, W, 3), uint8, to (h, w, 3), float of whole numbers.

    With OpenCV's roundings: weights in parts of 2048, a row's sums in parts of 128, each row's
    share in quarters, all but the last rounded down. By exact arithmetic every tenth value would
    be greater by one.

    Args:
        ops: Where to.
        image: (H, W, 3).
        new: h, w.
        ratio: Numerators and denominators of the factors of rows and columns.
    """
    places = []
    for axis in (0, 1):
        over, under = (_at(ops, value, axis) for value in ratio)
        odd = ops.Add(ops.Mul(_steps(ops, new, axis), np.int64(2)), np.int64(1))
        place = ops.Sub(ops.Mul(odd, under), over)
        places.append(_quotient(ops, place, ops.Mul(over, np.int64(2))))
    left, right, weights = _corners(ops, image, places)
    lower, beside = (ops.Round(ops.Mul(weight, np.float32(2048))) for weight in weights)
    upper = ops.Sub(np.float32(2048), lower)
    rows = ops.Add(
        ops.Mul(left, ops.Sub(np.float32(128), ops.Mul(beside, np.float32(1 / 16)))),
        ops.Mul(right, ops.Mul(beside, np.float32(1 / 16))),
    )
    shares = [
        ops.Floor(ops.Mul(ops.Mul(ops.Floor(row), share), np.float32(2**-16)))
        for row, share in zip(ops.Split(rows, axis=0, num_outputs=2), (upper, lower), strict=True)
    ]
    total = ops.Add(ops.Add(*shares), np.float32(2))
    return ops.Floor(ops.Mul(total, np.float32(0.25)))


def _warp(
    ops: GraphBuilder,
    image: Value,
    new: Value,
    ratio: tuple[Value, Value],
    spare: Value | None,
) -> Value:
    """``cv2.warpPerspective`` by a scaling: (H, W, 3), uint8, to (h, w, 3), float, whole numbers.

    Beyond the image lies black. As OpenCV 5 does it in single precision, to the bit of its vector
    instructions on x86: a column's place is rounded once, a row's twice.

    Args:
        ops: Where to.
        image: (H, W, 3).
        new: h, w.
        ratio: Numerators and denominators of the factors of rows and columns.
        spare: What is left of h and w, in parts of the image's pixels by the numerators; None: 0.
    """
    places = []
    for axis in (0, 1):
        over, under = (_at(ops, value, axis) for value in ratio)
        step = _quotient(ops, under, over, 1 << 16)
        steps = ops.Cast(_steps(ops, new, axis), to=ir.DataType.FLOAT)
        if spare is None:
            place = ops.Mul(steps, step)
        else:
            doubled = ops.Mul(over, np.int64(-2))
            start = _quotient(ops, _at(ops, spare, axis), doubled)
            if axis == 0:
                # Abs changes nothing: it keeps OpenVINO from rounding once.
                place = ops.Add(ops.Abs(ops.Mul(steps, step)), start)
            else:
                coarse = ops.Mul(ops.Floor(ops.Mul(step, np.float32(256))), np.float32(1 / 256))
                place = ops.Add(ops.Mul(steps, coarse), start)
                place = ops.Add(place, ops.Mul(steps, ops.Sub(step, coarse)))
        places.append(place)
    image = ops.Pad(image, ops.ints(1, 1, 0, 1, 1, 0), np.uint8(0))
    left, right, (lower, beside) = _corners(ops, image, places, border=1)
    rows = ops.Add(left, ops.Mul(ops.Sub(right, left), beside))
    above, below = ops.Split(rows, axis=0, num_outputs=2)
    return ops.Round(ops.Add(above, ops.Mul(ops.Sub(below, above), lower)))


def clip(ops: GraphBuilder, boxes: Value, limits: Value) -> Value:
    """Boxes (…, 4) within 0 and ``limits``, (4,)."""
    return ops.Max(ops.Min(boxes, limits), np.float32(0))


def to_image(ops: GraphBuilder, boxes: Value, frame: Frame) -> Value:
    """Boxes of the network's input in pixels of the image."""
    boxes = clip(ops, boxes, frame.limits)
    if frame.offset is not None:
        boxes = ops.Sub(boxes, frame.offset)
    return clip(ops, ops.Div(boxes, frame.ratio), frame.size)


def select(
    ops: GraphBuilder, scores: Value, boxes: Value, *, nms_pre: int, score_threshold: float
) -> Parts:
    """The best pairs of box and class of one level.

    Args:
        ops: Where to.
        scores: (n, classes).
        boxes: (n, 4).
        nms_pre: How many at most; 0 or less: all above the threshold.
        score_threshold: Where ``nms_pre`` leaves all.

    Returns:
        Boxes (k, 4), scores (k,), labels (k,).
    """
    classes = ops.Slice(ops.Shape(scores), ops.ints(1), ops.ints(2))
    flat = ops.Reshape(scores, ops.ints(-1))
    if nms_pre > 0:
        limit = ops.Min(ops.Size(flat), np.int64(nms_pre))
        best, index = ops.TopK(flat, ops.Reshape(limit, ops.ints(1)), num_outputs=2)
    else:
        above = ops.NonZero(ops.Greater(flat, np.float32(score_threshold)))
        index = ops.Reshape(above, ops.ints(-1))
        best = ops.Gather(flat, index)
    return ops.Gather(boxes, ops.Div(index, classes)), best, ops.Mod(index, classes)


def concatenate(ops: GraphBuilder, levels: Sequence[Parts]) -> Parts:
    """The parts of all levels, one behind another."""
    parts = [ops.Concat(*values, axis=0) for values in zip(*levels, strict=True)]
    return parts[0], parts[1], parts[2]


def suppress(
    ops: GraphBuilder,
    parts: Parts,
    *,
    iou_threshold: float,
    score_threshold: float,
    max_boxes: int,
    min_box_size: float,
) -> Parts:
    """Non-maximum suppression within each class, the highest score first.

    Boxes of each class are moved to a place of their own, so that one run of the operator does for
    all classes and its limit is that of all.

    Args:
        ops: Where to.
        parts: Boxes (k, 4), scores (k,), labels (k,).
        iou_threshold: Boxes that overlap a better one by more are dropped.
        score_threshold: Boxes of scores up to this are dropped.
        max_boxes: How many are kept.
        min_box_size: Boxes as narrow or low as this, in pixels, are dropped; negative: none.

    Returns:
        The same of the boxes that are kept.
    """
    boxes, scores, labels = parts
    ranked = scores
    if min_box_size >= 0:
        sides = ops.Sub(ops.columns(boxes, 2, 4), ops.columns(boxes, 0, 2))
        smallest = ops.ReduceMin(sides, ops.ints(-1), keepdims=0)
        ranked = ops.Where(ops.Greater(smallest, np.float32(min_box_size)), scores, np.float32(-1))
    # As far apart as mmcv has them: that decides where an overlap is as large as the threshold.
    ruled_out = ops.LessOrEqual(ranked, np.float32(score_threshold))
    counted = ops.Where(ops.Unsqueeze(ruled_out, ops.ints(1)), np.float32(0), boxes)
    counted = ops.Concat(counted, np.zeros((1, 4), np.float32), axis=0)
    step = ops.Add(ops.ReduceMax(counted), np.float32(1))
    offsets = ops.Mul(ops.Cast(labels, to=ir.DataType.FLOAT), ops.Reshape(step, ops.ints(1)))
    apart = ops.Add(boxes, ops.Unsqueeze(offsets, ops.ints(1)))
    chosen = ops.NonMaxSuppression(
        ops.Unsqueeze(apart, ops.ints(0)),
        ops.Unsqueeze(ranked, ops.ints(0, 1)),
        ops.ints(max_boxes),
        np.asarray([iou_threshold], np.float32),
        np.asarray([score_threshold], np.float32),
    )  # (m, 3): image, class, box
    kept = ops.Reshape(ops.columns(chosen, 2, 3), ops.ints(-1))
    return ops.Gather(boxes, kept), ops.Gather(scores, kept), ops.Gather(labels, kept)


class Pooling(NamedTuple):
    """How RoIs are pooled.

    Attributes:
        kind: 'RoIAlign' (the mean), 'RoIPool' or 'PSRoIAlign'.
        strides: Of the maps that RoIs are read from.
        bins: P, along each side of a RoI.
        channels: Of a pooled RoI.
        samples: Along a bin's side; 0: as many as cells. RoIPool has none.
        aligned: Cells' centres are at half a cell.
        maximum: Whether PSRoIAlign takes the greatest sample, not the mean.
        finest_scale: Of several maps; RoIs below twice this side read the first.
    """

    kind: str
    strides: Sequence[int]
    bins: int
    channels: int
    samples: int = 0
    aligned: bool = True
    maximum: bool = False
    finest_scale: float = 56


def pool_rois(
    ops: GraphBuilder, maps: Sequence[Value], rois: Value, pooling: Pooling
) -> tuple[Value, Value]:
    """Pool every RoI from the map of its size (FPN, arXiv:1612.03144, eq. 1).

    Args:
        ops: Where to.
        maps: (1, C_i, h_i, w_i) each, as many as there are strides.
        rois: (n, 4) corners in pixels.
        pooling: How.

    Returns:
        (n, C, P, P), and the RoIs in the same order, the first map's first.
    """
    pool = {"RoIAlign": _align, "RoIPool": _pool, "PSRoIAlign": _align_sensitive}[pooling.kind]
    if len(maps) == 1:
        return pool(ops, maps[0], rois, pooling.strides[0], pooling), rois
    width, height = (
        ops.Sub(ops.columns(rois, i + 2, i + 3), ops.columns(rois, i, i + 1)) for i in (0, 1)
    )
    scale = ops.Div(ops.Sqrt(ops.Mul(width, height)), np.float32(pooling.finest_scale))
    octave = ops.Div(ops.Log(ops.Add(scale, np.float32(1e-6))), np.float32(np.log(2)))
    level = ops.Reshape(ops.Floor(octave), ops.ints(-1))
    level = ops.Min(ops.Max(level, np.float32(0)), np.float32(len(maps) - 1))
    pooled, chosen = [], []
    for i, (feature, stride) in enumerate(zip(maps, pooling.strides, strict=True)):
        index = ops.NonZero(ops.Equal(level, np.float32(i)))
        of_level = ops.Gather(rois, ops.Reshape(index, ops.ints(-1)))
        pooled.append(pool(ops, feature, of_level, stride, pooling))
        chosen.append(of_level)
    return ops.Concat(*pooled, axis=0), ops.Concat(*chosen, axis=0)


def _align(ops: GraphBuilder, feature: Value, rois: Value, stride: int, pooling: Pooling) -> Value:
    image = ops.Expand(
        np.asarray([0], np.int64), ops.Slice(ops.Shape(rois), ops.ints(0), ops.ints(1))
    )
    return ops.RoiAlign(
        feature,
        rois,
        image,
        output_height=pooling.bins,
        output_width=pooling.bins,
        sampling_ratio=pooling.samples,
        spatial_scale=1.0 / stride,
        coordinate_transformation_mode="half_pixel" if pooling.aligned else "output_half_pixel",
        mode="avg",
    )


def _pool(ops: GraphBuilder, feature: Value, rois: Value, stride: int, pooling: Pooling) -> Value:
    """mmcv's RoIPool: every bin is a RoI of one bin, as the operator rounds where mmcv does not."""
    bins = pooling.bins
    size = ops.Cast(ops.Shape(feature), to=ir.DataType.FLOAT)
    edges = []
    for axis, shape in enumerate(((-1, 1, bins, 1), (-1, bins, 1, 1))):
        start = ops.Mul(ops.columns(rois, axis, axis + 1), np.float32(1 / stride))  # (n, 1)
        end = ops.Add(ops.columns(rois, axis + 2, axis + 3), np.float32(1))
        step = ops.Div(ops.Sub(ops.Mul(end, np.float32(1 / stride)), start), np.float32(bins))
        for round_, first in ((ops.Floor, 0), (ops.Ceil, 1)):
            counted = np.arange(first, first + bins, dtype=np.float32)
            edge = round_(ops.Add(ops.Mul(step, counted), start))  # (n, P)
            edges.append(ops.Reshape(clip(ops, edge, _at(ops, size, 3 - axis)), ops.ints(*shape)))
    left, right, top, bottom = edges
    filled = ops.And(ops.Greater(right, left), ops.Greater(bottom, top))  # (n, P, P, 1)
    beyond = ops.Add(ops.ReduceMax(size), np.float32(1))
    one = np.float32(1)
    corners = [
        ops.Where(filled, corner, beyond)
        for corner in (left, top, ops.Sub(right, one), ops.Sub(bottom, one))
    ]
    image = ops.Mul(corners[0], np.float32(0))
    pooled = ops.MaxRoiPool(
        feature,
        ops.Reshape(ops.Concat(image, *corners, axis=-1), ops.ints(-1, 5)),
        pooled_shape=[1, 1],
        spatial_scale=1.0,
    )
    return _as_bins(ops, pooled, pooling)


def _align_sensitive(
    ops: GraphBuilder, feature: Value, rois: Value, stride: int, pooling: Pooling
) -> Value:
    """PSRoIAlign: the channels of each bin are an image of their own, each bin a RoI on it."""
    bins, images = pooling.bins, pooling.bins**2
    shift = 0.0 if pooling.aligned else 0.5  # cells; the operator takes half a cell off
    if pooling.maximum:
        feature = ops.Pad(feature, ops.ints(0, 0, 1, 1, 0, 0, 1, 1), np.float32(0))
        shift += 1
    size = ops.Slice(ops.Shape(feature), ops.ints(2), ops.ints(4))
    feature = ops.Reshape(feature, ops.Concat(ops.ints(pooling.channels, images), size, axis=0))
    feature = ops.Transpose(feature, perm=[1, 0, 2, 3])
    rois = ops.Add(rois, np.float32(shift * stride))
    corners: list[Value] = []
    for first in (0, 1):
        for axis, shape in enumerate(((1, 1, bins, 1), (1, bins, 1, 1))):
            start = ops.Reshape(ops.columns(rois, axis, axis + 1), ops.ints(-1, 1, 1, 1))
            side = ops.Sub(ops.columns(rois, axis + 2, axis + 3), ops.columns(rois, axis, axis + 1))
            part = np.arange(first, first + bins, dtype=np.float32).reshape(shape) / bins
            corner = ops.Add(ops.Mul(ops.Reshape(side, ops.ints(-1, 1, 1, 1)), part), start)
            corners.append(ops.Expand(corner, ops.ints(1, bins, bins, 1)))
    number = ops.Slice(ops.Shape(rois), ops.ints(0), ops.ints(1))
    image = ops.Expand(
        np.arange(images, dtype=np.int64), ops.Concat(number, ops.ints(images), axis=0)
    )
    samples = pooling.samples if pooling.maximum else 1
    pooled = ops.RoiAlign(
        feature,
        ops.Reshape(ops.Concat(*corners, axis=-1), ops.ints(-1, 4)),
        ops.Reshape(image, ops.ints(-1)),
        output_height=samples,
        output_width=samples,
        sampling_ratio=1 if pooling.maximum else pooling.samples,
        spatial_scale=1.0 / stride,
        coordinate_transformation_mode="half_pixel",
        mode="avg",
    )  # (n P P, C, samples, samples)
    if pooling.maximum:
        pooled = ops.ReduceMax(pooled, ops.ints(2, 3))
    return _as_bins(ops, pooled, pooling)


def _as_bins(ops: GraphBuilder, pooled: Value, pooling: Pooling) -> Value:
    """(n P P, C, 1, 1) to (n, C, P, P)."""
    shape = ops.ints(-1, pooling.bins, pooling.bins, pooling.channels)
    return ops.Transpose(ops.Reshape(pooled, shape), perm=[0, 3, 1, 2])


def absorb(graph: ir.Graph, other: ir.Graph, inputs: Sequence[Value], prefix: str) -> list[Value]:
    """Move another graph into a graph and return its outputs there.

    Args:
        graph: Where to.
        other: What is emptied.
        inputs: What takes the place of its inputs.
        prefix: Put before all its names.
    """
    outputs = list(other.outputs)
    for own, given in zip(list(other.inputs), inputs, strict=True):
        own.replace_all_uses_with(given)
    for value in list(other.initializers.values()):
        del other.initializers[str(value.name)]
        value.name = f"{prefix}/{value.name}"
        graph.register_initializer(value)
    for node in list(other):
        other.remove(node)
        node.name = f"{prefix}/{node.name}"
        for value in node.outputs:
            value.name = f"{prefix}/{value.name}"
        graph.append(node)
    return outputs
