"""The parts of an ONNX file around the network: preprocessing, RoI pooling and NMS.

The exporter traces these modules into operators of the ONNX standard.
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

Boxed = tuple[Tensor, Tensor, Tensor]  # boxes (n, 4), scores (n,), labels (n,)


class Frame(NamedTuple):
    """The position of an image in the network's input. Each field has the values x, y, x, y."""

    limits: Tensor  # width and height before padding to pad_divisor; boxes are clipped to them
    offset: Tensor  # the image's top left corner
    ratio: Tensor  # input pixels per image pixel
    size: Tensor  # width and height of the original image


class Pipeline(nn.Module):
    """A whole detector, from an image to boxes."""

    def __init__(self, model: Any, spec: Spec, *, nms: bool, half: bool) -> None:
        """Build the pipeline of an mmdet detector, which ``spec`` describes.

        ``nms`` adds non-maximum suppression, ``half`` runs the network in float16. Raises
        ValueError if the head or the RoI extractor cannot be exported.
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
        """Detect objects on an RGB image, (height, width, 3), uint8.

        Returns:
            Boxes (n, 4) in pixels of the image, scores (n,) and labels (n,); without NMS, boxes
            (n, 4) and scores (n, classes).
        """
        x, frame = self.image(image)
        scores, boxes, maps = self.network(x.to(self.dtype))
        if self.proposals is None:
            return self.boxes(scores, boxes, frame)
        pooled, rois = self.proposals(scores, boxes, maps, frame)
        scores, boxes = self.rois(pooled.to(self.dtype), rois)
        return self.boxes([scores], [boxes], frame)


class Preprocessing(nn.Module):
    """Resizes, normalises and pads an image as the test pipeline does."""

    def __init__(self, spec: Spec) -> None:
        """Take ``input`` of the metadata, see :mod:`shufflenet_det.deploy.spec`."""
        super().__init__()
        self.spec = spec
        self.fixed = spec["resize"] != "keep"

    def forward(self, image: Tensor) -> tuple[Tensor, Frame]:
        """Turn an RGB image, (H, W, 3), uint8, into the network's input, (1, 3, h, w)."""
        spec, divisor = self.spec, self.spec["pad_divisor"]
        full = torch.tensor([spec.get("height", 0), spec.get("width", 0)])
        size = torch._shape_as_tensor(image)[:2]
        new, over, under = full, full, size  # rows and columns are resized by over / under
        if not self.fixed or spec.get("keep_ratio"):
            (most, least), (long, short) = full, size
            if not self.fixed:
                most, least = (torch.tensor(side) for side in spec["scale"])
                long, short = torch.maximum(long, short), torch.minimum(long, short)
            by_long = short * most <= long * least
            over = torch.where(by_long, most, least).expand(2)
            under = torch.where(by_long, long, short).expand(2)
        if not self.fixed:
            # In integers, since mmcv rounds halves up.
            new = over = _int_divide(size * over * 2 + under, under * 2)
            under = size
        spare = full * under - size * over  # twice the border, in units of 1 / over image pixels
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
        if self.fixed:  # shape inference cannot always find the size
            x = x.reshape(
                1, 3, *(-(-spec[side] // divisor) * divisor for side in ("height", "width"))
            )
        offset = _quotient(spare, under * 2) if letterbox else torch.zeros(2)
        ratio = _quotient(over, under, 1 << 16)
        return x, Frame(*(value.float()[[1, 0, 1, 0]] for value in (new, offset, ratio, size)))


def _int_divide(over: Tensor, under: Tensor | int) -> Tensor:
    """Integer division, rounded towards zero."""
    return torch.div(over, under, rounding_mode="trunc")


def _quotient(over: Tensor, under: Tensor, parts: int = 1) -> Tensor:
    """The float nearest to a fraction of integers.

    OpenVINO multiplies by the reciprocal, so half of its quotients are wrong in the last bit.
    Only the remainder, less than 1 / ``parts``, is therefore divided in floats.
    """
    over = over * parts
    whole = _int_divide(over, under)
    rest = over - whole * under
    return (whole.float() + rest.float() / under.float()) * (1 / parts)


def _arange(stop: Any) -> Tensor:
    """``torch.arange`` of a number that is a tensor while it is traced."""
    return torch.arange(stop)


def _neighbours(
    image: Tensor, positions: Sequence[Tensor], border: int = 0
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The pixels that a linear interpolation reads from an image, (H, W, 3), with a border.

    ``positions`` are the rows (h,) and the columns (w,), counted from inside the border.

    Returns:
        The left and the right neighbours, each (2 h, w, 3), float, those of the upper rows before
        those of the lower rows; and the weights of the lower, (h, 1, 1), and right, (w, 1), ones.
    """
    last = torch._shape_as_tensor(image) - 1
    indices, weights = [], []
    for axis, position in enumerate(positions):
        before = position.floor()
        weights.append((position - before).view(-1, *[1] * (2 - axis)))
        first = before.long() + border
        indices.append([i.clamp(min=0).minimum(last[axis]) for i in (first, first + 1)])
    rows = image.index_select(0, torch.cat(indices[0]))
    left, right = (rows.index_select(1, index).float() for index in indices[1])
    return left, right, weights


def _resize(image: Tensor, new: Tensor, over: Tensor, under: Tensor) -> Tensor:
    """Linear ``cv2.resize`` of (H, W, 3), uint8, to (h, w, 3), integers as float.

    The factors of rows and columns are ``over / under``. Values are rounded where OpenCV rounds:
    weights to 1/2048, the sums in a row down to 1/128, the weighted rows down to 1/4. With exact
    arithmetic every tenth value would be greater by one.
    """
    positions = [
        _quotient((_arange(new[axis]) * 2 + 1) * under[axis] - over[axis], over[axis] * 2)
        for axis in (0, 1)
    ]
    left, right, weights = _neighbours(image, positions)
    lower, beside = ((weight * 2048).round() for weight in weights)
    rows = left * (128 - beside / 16) + right * (beside / 16)
    shares = zip(rows.floor().chunk(2), (2048 - lower, lower), strict=True)
    above, below = ((row * share / 65536).floor() for row, share in shares)
    return ((above + below + 2) / 4).floor()


def _warp(image: Tensor, new: Tensor, over: Tensor, under: Tensor, spare: Tensor | None) -> Tensor:
    """``cv2.warpPerspective`` by a scaling, of (H, W, 3), uint8, to (h, w, 3), integers as float.

    The factors of rows and columns are ``over / under``; ``spare`` is twice the black border, in
    units of 1 / over image pixels. The result equals that of OpenCV 5's vector code for x86 to the
    bit: in single precision, it rounds the position of a column once and that of a row twice.
    """
    positions = []
    for axis in (0, 1):
        step = _quotient(under[axis], over[axis], 1 << 16)
        steps = _arange(new[axis]).float()
        position = steps * step
        if spare is not None:
            start = _quotient(spare[axis], over[axis] * -2)
            if axis == 0:
                # abs() changes no value. It keeps OpenVINO from joining the two roundings.
                position = position.abs() + start
            else:
                coarse = (step * 256).floor() / 256
                position = steps * coarse + start + steps * (step - coarse)
        positions.append(position)
    image = F.pad(image, (0, 0, 1, 1, 1, 1))
    left, right, (lower, beside) = _neighbours(image, positions, border=1)
    above, below = (left + (right - left) * beside).chunk(2)
    return (above + (below - above) * lower).round()


def _clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Clip boxes, (…, 4), to 0 and ``limits``, (4,)."""
    return boxes.minimum(limits).clamp(min=0)


def _select(scores: Tensor, boxes: Tensor, nms_pre: int, threshold: float) -> Boxed:
    """The best ``nms_pre`` pairs of box and class of one level, or all above the threshold.

    Scores are (n, classes); boxes are (n, 4), (n, classes, 4) or (n, 1, 4).
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
        boxes = boxes[_int_divide(index, classes)]
    return boxes, best, index % classes


def _suppress(levels: Sequence[Boxed], spec: Spec, threshold: float) -> Boxed:
    """Non-maximum suppression within each class of all levels, the highest score first.

    The boxes of each class are shifted to a region of their own. So one operator serves all
    classes, and its limit of boxes holds for all classes together.
    """
    boxes, scores, labels = (torch.cat(values) for values in zip(*levels, strict=True))
    ranked = scores
    if spec["min_box_size"] >= 0:  # drop boxes with a side of this many pixels or fewer
        smallest = (boxes[:, 2:] - boxes[:, :2]).amin(1)
        ranked = torch.where(smallest > spec["min_box_size"], scores, -torch.ones_like(scores))
    # mmcv's shift, since its rounding decides where an overlap equals the threshold.
    counted = boxes * (ranked > threshold)[:, None]
    step = torch.cat((counted, torch.zeros(1, 4))).max() + 1
    apart = boxes + (labels.float() * step)[:, None]
    limits = spec["max_boxes"], spec["iou_threshold"], threshold
    # OpenVINO must know that a box has four numbers and cannot always infer it.
    apart = apart.reshape(1, -1, 4)
    kept = _NonMaxSuppression.apply(apart, ranked[None, None], *limits)[:, 2]
    return boxes[kept], scores[kept], labels[kept]


class _NonMaxSuppression(torch.autograd.Function):
    """ONNX's operator, of boxes (1, n, 4) and scores (1, 1, n). Gives (m, 3): image, class, box."""

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
    """Turns scores (n_i, classes) and boxes of every level into boxes in pixels of the image."""

    def __init__(self, spec: Spec, *, nms: bool) -> None:
        super().__init__()
        self.spec, self.nms = spec, nms

    def forward(
        self, scores: Sequence[Tensor], boxes: Sequence[Tensor], frame: Frame
    ) -> tuple[Tensor, ...]:
        """Boxes of each level are (n_i, 4); those of a second stage (n, classes or 1, 4)."""
        boxes = [(_clip(of_level, frame.limits) - frame.offset) / frame.ratio for of_level in boxes]
        boxes = [_clip(of_level, frame.size) for of_level in boxes]
        if self.nms:
            threshold = self.spec["score_threshold"]
            pairs = zip(scores, boxes, strict=True)
            levels = [_select(*pair, self.spec["nms_pre"], threshold) for pair in pairs]
            return _suppress(levels, self.spec, threshold)
        if boxes[0].dim() == 3:
            # The box of each class becomes a box of its own, with the score of that class only.
            classes = scores[0].size(1)
            boxes = [boxes[0].expand(-1, classes, 4).flatten(0, 1)]
            scores = [(scores[0][:, None] * torch.eye(classes)).flatten(0, 1)]
        return torch.cat(list(boxes)), torch.cat(list(scores))


class Proposals(nn.Module):
    """Selects the RPN's proposals, and pools the features of each."""

    def __init__(self, model: Any) -> None:
        """Take a two-stage detector; ValueError if its RoI layer cannot be exported."""
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
        """Pool each RoI from the level for its size (FPN, arXiv:1612.03144, eq. 1).

        Returns:
            Pooled features, (n, C, P, P), and the RoIs, (n, 4), in the same order.
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
        reads = zip(self.layers, maps, chosen, strict=False)  # only the RPN reads the coarsest map
        pooled = [layer(feature.float(), of_level) for layer, feature, of_level in reads]
        return torch.cat(pooled), torch.cat(chosen)[:, 1:]


def _exportable(layer: Any) -> nn.Module:
    """An RoI layer with the same results, built from operators that ONNX has."""
    kind = type(layer).__name__
    if kind == "RoIPool":
        return _RoIPool(layer)
    if kind == "PSRoIAlign":
        return _PSRoIAlign(layer)
    if kind == "RoIAlign" and layer.pool_mode == "avg":
        names = ("output_size", "spatial_scale", "sampling_ratio", "aligned")
        return torchvision.ops.RoIAlign(**{name: getattr(layer, name) for name in names})
    raise ValueError(
        f"RoI layer {kind} cannot be exported: use RoIPool, PSRoIAlign, or RoIAlign with "
        "pool_mode='avg'"
    )


class _RoIPool(nn.Module):
    """mmcv's RoIPool. Each bin is pooled as an RoI, since ONNX's operator rounds bins."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.bins, self.scale = layer.output_size, layer.spatial_scale

    def forward(self, feature: Tensor, rois: Tensor) -> Tensor:
        bins = bins_of(rois, feature.shape[2:], self.bins, self.scale)
        return _as_bins(torchvision.ops.roi_pool(feature, bins.reshape(-1, 5), 1), *self.bins)


class _PSRoIAlign(nn.Module):
    """PSRoIAlign. The channels of each bin become an image of their own, and the bin its RoI."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.bins, self.scale = layer.output_size, layer.spatial_scale
        self.samples, self.maximum = layer.sampling_ratio, layer.pool_mode == "max"
        self.shift = 0.0 if layer.aligned else 0.5  # in cells: the operator subtracts half a cell

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
