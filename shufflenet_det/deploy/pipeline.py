"""What stands before and behind a network in an ONNX file: preprocessing, NMS, RoI pooling.

These modules are traced; every operator that they become is of the ONNX standard.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from ..host.ops.rois import bins_of
from .network import DenseNetwork, RoINetwork
from .spec import Spec, suppression

Found = tuple[Tensor, Tensor, Tensor]  # boxes (n, 4), scores (n,), labels (n,)


class Frame(NamedTuple):
    """Where an image lies in the network's input: four values each, x, y, x, y."""

    limits: Tensor  # width and height within which boxes are clipped
    offset: Tensor  # of the image's corner
    ratio: Tensor  # pixels of the input per pixel of the image
    size: Tensor  # width and height of the image itself


class Pipeline(nn.Module):
    """A whole detector, from an image to boxes."""

    def __init__(self, model: Any, spec: Spec, *, nms: bool, half: bool) -> None:
        """Take a detector of mmdet apart, ``spec`` being its description.

        With ``nms`` overlapping boxes are removed, with ``half`` the network computes in float16.
        ValueError if the head or the RoI extractor is none that can be exported.
        """
        super().__init__()
        two_stage = hasattr(model, "roi_head")
        dense = DenseNetwork(model, model.rpn_head if two_stage else model.bbox_head)
        self.image = Preprocessing(spec["input"])
        self.dtype = torch.float16 if half else torch.float32
        self.network = dense.to(self.dtype)
        self.proposals = Proposals(model) if two_stage else None
        self.rois: Any = RoINetwork(model.roi_head).to(self.dtype) if two_stage else None
        self.boxes = Boxes(spec, nms=nms)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detect on an image, (height, width, 3), uint8, RGB.

        Returns:
            In pixels of that image boxes (n, 4), scores (n,), labels (n,); without NMS boxes (n, 4)
            and scores (n, classes).
        """
        x, frame = self.image(image)
        scores, boxes, maps = self.network(x.to(self.dtype))
        if self.proposals is None:
            return self.boxes(scores, boxes, frame)
        pooled, rois = self.proposals(scores, boxes, maps, frame)
        scores, boxes = self.rois(pooled.to(self.dtype), rois)
        return self.boxes([scores], [boxes], frame)


class Preprocessing(nn.Module):
    """Resizes, normalises and pads as the model was tested."""

    def __init__(self, spec: Spec) -> None:
        """Take ``input`` of the metadata, see :mod:`shufflenet_det.deploy.spec`."""
        super().__init__()
        self.spec = spec
        self.fixed = spec["resize"] != "keep"

    def forward(self, image: Tensor) -> tuple[Tensor, Frame]:
        """Make the network's input, (1, 3, h, w), of an image, (H, W, 3), uint8, RGB."""
        spec, divisor = self.spec, self.spec["pad_divisor"]
        full = torch.tensor([spec.get("height", 0), spec.get("width", 0)])
        size = torch._shape_as_tensor(image)[:2]
        new, over, under = full, full, size  # the resize's factor as a fraction, rows and columns
        if not self.fixed or spec.get("keep_ratio"):
            (most, least), (long, short) = full, size
            if not self.fixed:
                most, least = (torch.tensor(side) for side in spec["scale"])
                long, short = torch.maximum(long, short), torch.minimum(long, short)
            by_long = short * most <= long * least
            over = torch.where(by_long, most, least).expand(2)
            under = torch.where(by_long, long, short).expand(2)
        if not self.fixed:
            # Whole numbers throughout: mmcv rounds halves up.
            new = over = _divided(size * over * 2 + under, under * 2)
            under = size
        spare = full * under - size * over  # twice the border, in parts 1 / over of a pixel
        letterbox = spec["resize"] == "warp" and spec["keep_ratio"]
        if spec["resize"] == "warp":
            x = _warp(image, new, over, under, spare if letterbox else None)
        else:
            x = _resize(image, new, over, under)
        x = x.permute(2, 0, 1)[None]
        if spec["channels"] == "BGR":
            x = x.index_select(1, torch.tensor([2, 1, 0]))
        mean, std = (torch.tensor(spec[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        below, right = (divisor - new % divisor) % divisor
        x = F.pad((x - mean) / std, (0, right, 0, below), value=spec["pad_value"])
        if self.fixed:  # which inference of shapes cannot always find
            x = x.reshape(
                1, 3, *(-(-spec[side] // divisor) * divisor for side in ("height", "width"))
            )
        offset = _quotient(spare, under * 2) if letterbox else torch.zeros(2)
        ratio = _quotient(over, under, 1 << 16)
        return x, Frame(*(value.float()[[1, 0, 1, 0]] for value in (new, offset, ratio, size)))


def _divided(over: Tensor, under: Tensor | int) -> Tensor:
    return torch.div(over, under, rounding_mode="trunc")


def _quotient(over: Tensor, under: Tensor, parts: int = 1) -> Tensor:
    """The float nearest to a fraction of whole numbers.

    OpenVINO multiplies by the reciprocal, which is off by one bit for half of all quotients: here
    only by one bit of what is less than one of so many ``parts`` of 1.
    """
    over = over * parts
    whole = _divided(over, under)
    rest = over - whole * under
    return (whole.float() + rest.float() / under.float()) * (1 / parts)


def _steps(number: Any) -> Tensor:
    """0, 1, … up to a number that is traced."""
    return torch.arange(number)


def _corners(
    image: Tensor, places: Sequence[Tensor], border: int = 0
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """What an interpolation reads: (H, W, 3) at places (h,) and (w,), ``border`` pixels within.

    Returns:
        The left and the right pixel, (2 h, w, 3), float, first of all upper, then of all lower
        rows, and the weights of the lower, (h, 1, 1), and of the right ones, (w, 1).
    """
    last = torch._shape_as_tensor(image) - 1
    indices, weights = [], []
    for axis, place in enumerate(places):
        before = place.floor()
        weights.append((place - before).view(-1, *[1] * (2 - axis)))
        first = before.long() + border
        indices.append([i.clamp(min=0).minimum(last[axis]) for i in (first, first + 1)])
    rows = image.index_select(0, torch.cat(indices[0]))
    left, right = (rows.index_select(1, index).float() for index in indices[1])
    return left, right, weights


def _resize(image: Tensor, new: Tensor, over: Tensor, under: Tensor) -> Tensor:
    """``cv2.resize``, linear: (H, W, 3), uint8, to (h, w, 3), float of whole numbers.

    With OpenCV's roundings: weights in parts of 2048, a row's sums in parts of 128, each row's
    share in quarters, all but the last rounded down. By exact arithmetic every tenth value would
    be greater by one. Factors of rows and columns are ``over / under``.
    """
    places = [
        _quotient((_steps(new[axis]) * 2 + 1) * under[axis] - over[axis], over[axis] * 2)
        for axis in (0, 1)
    ]
    left, right, weights = _corners(image, places)
    lower, beside = ((weight * 2048).round() for weight in weights)
    rows = left * (128 - beside / 16) + right * (beside / 16)
    shares = zip(rows.floor().chunk(2), (2048 - lower, lower), strict=True)
    above, below = ((row * share / 65536).floor() for row, share in shares)
    return ((above + below + 2) / 4).floor()


def _warp(image: Tensor, new: Tensor, over: Tensor, under: Tensor, spare: Tensor | None) -> Tensor:
    """``cv2.warpPerspective`` by a scaling: (H, W, 3), uint8, to (h, w, 3), float, whole numbers.

    Beyond the image lies black. As OpenCV 5 does it in single precision, to the bit of its vector
    instructions on x86: a column's place is rounded once, a row's twice. Factors of rows and
    columns are ``over / under``; ``spare`` is what is left of h and w, in parts 1 / over of the
    image's pixels.
    """
    places = []
    for axis in (0, 1):
        step = _quotient(under[axis], over[axis], 1 << 16)
        steps = _steps(new[axis]).float()
        place = steps * step
        if spare is not None:
            start = _quotient(spare[axis], over[axis] * -2)
            if axis == 0:
                # abs changes nothing: it keeps OpenVINO from rounding once.
                place = place.abs() + start
            else:
                coarse = (step * 256).floor() / 256
                place = steps * coarse + start + steps * (step - coarse)
        places.append(place)
    image = F.pad(image, (0, 0, 1, 1, 1, 1))
    left, right, (lower, beside) = _corners(image, places, border=1)
    above, below = (left + (right - left) * beside).chunk(2)
    return (above + (below - above) * lower).round()


def _clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Boxes (…, 4) within 0 and ``limits``, (4,)."""
    return boxes.minimum(limits).clamp(min=0)


def _select(scores: Tensor, boxes: Tensor, nms_pre: int, threshold: float) -> Found:
    """The best ``nms_pre`` pairs of box and class of one level, or all above the threshold.

    Scores are (n, classes), boxes (n, 4), or (n, classes, 4) or (n, 1, 4).
    """
    flat, classes = scores.flatten(), scores.size(-1)
    if nms_pre > 0:
        most: Any = torch._shape_as_tensor(flat)[0].clamp(max=nms_pre)
        best, index = flat.topk(most)
    else:
        index = (flat > threshold).nonzero()[:, 0]
        best = flat[index]
    if boxes.dim() == 3:
        boxes = boxes.expand(-1, classes, 4).flatten(0, 1)[index]
    else:
        boxes = boxes[_divided(index, classes)]
    return boxes, best, index % classes


def _suppress(levels: Sequence[Found], spec: Spec, threshold: float) -> Found:
    """Non-maximum suppression within each class of all levels, the highest score first.

    Boxes of each class are moved to a place of their own, so that one run of the operator does for
    all classes and its limit is that of all.
    """
    boxes, scores, labels = (torch.cat(values) for values in zip(*levels, strict=True))
    ranked = scores
    if spec["min_box_size"] >= 0:  # boxes as narrow or low as this, in pixels, are dropped
        smallest = (boxes[:, 2:] - boxes[:, :2]).amin(1)
        ranked = torch.where(smallest > spec["min_box_size"], scores, -torch.ones_like(scores))
    # As far apart as mmcv has them: that decides where an overlap is as large as the threshold.
    counted = boxes * (ranked > threshold)[:, None]
    step = torch.cat((counted, torch.zeros(1, 4))).max() + 1
    apart = boxes + (labels.float() * step)[:, None]
    limits = spec["max_boxes"], spec["iou_threshold"], threshold
    # OpenVINO has to know that a box has four numbers, and does not always find that itself.
    apart = apart.reshape(1, -1, 4)
    kept = _NonMaxSuppression.apply(apart, ranked[None, None], *limits)[:, 2]
    return boxes[kept], scores[kept], labels[kept]


class _NonMaxSuppression(torch.autograd.Function):
    """ONNX's operator: boxes (1, n, 4), scores (1, 1, n) to (m, 3): image, class, box."""

    @staticmethod
    def forward(
        ctx: Any, boxes: Tensor, scores: Tensor, max_boxes: int, iou: float, score: float
    ) -> Tensor:
        kept = torchvision.ops.nms(boxes[0], scores[0, 0], iou)
        kept = kept[scores[0, 0, kept] > score][:max_boxes]
        return torch.stack((kept * 0, kept * 0, kept), dim=1)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, *limits: float) -> Any:
        constants = [g.op("Constant", value_t=torch.tensor([limit])) for limit in limits]
        return g.op("NonMaxSuppression", boxes, scores, *constants)


class Boxes(nn.Module):
    """From scores (n_i, classes) and boxes of every level to boxes in pixels of the image."""

    def __init__(self, spec: Spec, *, nms: bool) -> None:
        super().__init__()
        self.spec, self.nms = spec, nms

    def forward(
        self, scores: Sequence[Tensor], boxes: Sequence[Tensor], frame: Frame
    ) -> tuple[Tensor, ...]:
        """Boxes are (n_i, 4), or of a second stage (n, classes, 4) or (n, 1, 4)."""
        boxes = [(_clip(of_level, frame.limits) - frame.offset) / frame.ratio for of_level in boxes]
        boxes = [_clip(of_level, frame.size) for of_level in boxes]
        if self.nms:
            threshold = self.spec["score_threshold"]
            pairs = zip(scores, boxes, strict=True)
            levels = [_select(*pair, self.spec["nms_pre"], threshold) for pair in pairs]
            return _suppress(levels, self.spec, threshold)
        if boxes[0].dim() == 3:
            # A box of each class: as many boxes, each with the score of its class alone.
            classes = scores[0].size(1)
            boxes = [boxes[0].expand(-1, classes, 4).flatten(0, 1)]
            scores = [(scores[0][:, None] * torch.eye(classes)).flatten(0, 1)]
        return torch.cat(list(boxes)), torch.cat(list(scores))


class Proposals(nn.Module):
    """The RoIs that an RPN proposes, and what is pooled at each."""

    def __init__(self, model: Any) -> None:
        """Take a two-stage detector; ValueError if its RoI layer is none that is known."""
        super().__init__()
        self.spec = suppression(model.test_cfg.rpn)
        self.extractor = model.roi_head.bbox_roi_extractor
        self.layers = nn.ModuleList(map(_exportable, self.extractor.roi_layers))

    def forward(
        self,
        scores: Sequence[Tensor],
        boxes: Sequence[Tensor],
        maps: Sequence[Tensor],
        frame: Frame,
    ) -> tuple[Tensor, Tensor]:
        """Pool every RoI from the map of its size (FPN, arXiv:1612.03144, eq. 1).

        Returns:
            (n, C, P, P), and the RoIs, (n, 4), in the same order.
        """
        levels = []
        for i, (of_level, corners) in enumerate(zip(scores, boxes, strict=True)):
            corners = _clip(corners, frame.limits)
            corners, best, label = _select(of_level, corners, self.spec["nms_pre"], -1)
            levels.append((corners, best, label + i))  # NMS within each level
        rois = F.pad(_suppress(levels, self.spec, -0.5)[0], (1, 0))  # all of image 0
        if len(self.layers) == 1:
            return self.layers[0](maps[0].float(), rois), rois[:, 1:]
        level = self.extractor.map_roi_levels(rois, len(self.layers))
        chosen = [rois[(level == i).nonzero()[:, 0]] for i in range(len(self.layers))]
        reads = zip(self.layers, maps, chosen, strict=False)  # the coarsest map is the RPN's alone
        pooled = [layer(feature.float(), of_level) for layer, feature, of_level in reads]
        return torch.cat(pooled), torch.cat(chosen)[:, 1:]


def _exportable(layer: Any) -> nn.Module:
    """The same RoI layer of operators that ONNX has."""
    kind = type(layer).__name__
    if kind == "RoIPool":
        return _RoIPool(layer)
    if kind == "PSRoIAlign":
        return _PSRoIAlign(layer)
    if kind == "RoIAlign" and layer.pool_mode == "avg":
        names = ("output_size", "spatial_scale", "sampling_ratio", "aligned")
        return torchvision.ops.RoIAlign(**{name: getattr(layer, name) for name in names})
    raise ValueError(
        f"{kind} cannot be exported: what can are RoIPool, RoIAlign by the mean and PSRoIAlign"
    )


class _RoIPool(nn.Module):
    """mmcv's RoIPool: every bin is a RoI of one bin, as the operator rounds where mmcv does not."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.bins, self.scale = layer.output_size, layer.spatial_scale

    def forward(self, feature: Tensor, rois: Tensor) -> Tensor:
        bins = bins_of(rois, feature.shape[2:], self.bins, self.scale)
        return _as_bins(torchvision.ops.roi_pool(feature, bins.reshape(-1, 5), 1), *self.bins)


class _PSRoIAlign(nn.Module):
    """PSRoIAlign: the channels of each bin are an image of their own, each bin a RoI on it."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.bins, self.scale = layer.output_size, layer.spatial_scale
        self.samples, self.maximum = layer.sampling_ratio, layer.pool_mode == "max"
        self.shift = 0.0 if layer.aligned else 0.5  # cells; the operator takes half a cell off

    def forward(self, feature: Tensor, rois: Tensor) -> Tensor:
        bins, shift = self.bins, self.shift
        if self.maximum:
            feature, shift = F.pad(feature, (1, 1, 1, 1)), shift + 1
        feature = feature[0].unflatten(0, (-1, bins**2)).transpose(0, 1)  # (P P, C, H, W)
        rois = rois[:, 1:] + shift / self.scale
        edges = torch.arange(bins + 1) / bins * (rois[:, 2:] - rois[:, :2])[..., None]
        x, y = (edges + rois[:, :2, None]).unbind(1)  # (n, P + 1)
        x, y = x[:, None, :], y[:, :, None]
        image = torch.arange(bins**2).view(bins, bins)
        parts = image, x[..., :-1], y[:, :-1], x[..., 1:], y[:, 1:]
        boxes = torch.stack(torch.broadcast_tensors(*parts), dim=-1).reshape(-1, 5)
        if self.maximum:
            pooled = torchvision.ops.roi_align(feature, boxes, self.samples, self.scale, 1, True)
            pooled = pooled.amax((2, 3))
        else:
            pooled = torchvision.ops.roi_align(feature, boxes, 1, self.scale, self.samples, True)
        return _as_bins(pooled, bins, bins)


def _as_bins(pooled: Tensor, height: int, width: int) -> Tensor:
    """(n h w, C) or (n h w, C, 1, 1) to (n, C, h, w)."""
    return pooled.reshape(-1, height, width, pooled.size(1)).permute(0, 3, 1, 2)
