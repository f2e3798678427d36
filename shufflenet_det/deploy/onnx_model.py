"""The whole detector, image to boxes, as one ONNX model of standard operators."""

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from torch import Tensor, nn

from . import graph as parts
from .graph import GraphBuilder, Value
from .network import DenseNetwork, RoINetwork
from .spec import Spec, suppression

OPSET = 20  # read by onnxruntime 1.17 and later
METADATA = "shufflenet_det"
# A traced size: two sides that are multiples of 32 and unlike each other.
_TRACED = (256, 320)


def build(model: nn.Module, spec: Spec, *, nms: bool = True, half: bool = False) -> onnx.ModelProto:
    """Export a detector.

    Args:
        model: A detector of mmdet in evaluation mode.
        spec: What :func:`~shufflenet_det.deploy.spec.describe` says of it.
        nms: Whether the graph removes overlapping boxes; if not, it ends with all of them.
        half: Compute the network in float16; sizes, boxes and scores stay in float32.

    Returns:
        A checked model. Input ``image``: (height, width, 3), uint8, RGB. Outputs in pixels of that
        image: ``boxes`` (n, 4), ``scores`` (n,), ``labels`` (n,); without NMS ``boxes`` (n, 4) and
        ``scores`` (n, classes).

    Raises:
        ValueError: The head is none that can be exported.
    """
    two_stage = hasattr(model, "roi_head")
    network = DenseNetwork(model, model.rpn_head if two_stage else model.bbox_head, maps=two_stage)
    count = len(network.levels)
    exported = _export_dense(network, spec, half)
    graph = exported.graph
    ops = GraphBuilder(graph, "image")
    image = ir.val("image", dtype=ir.DataType.UINT8, shape=ir.Shape(["height", "width", 3]))
    x, frame = parts.add_preprocessing(ops, image, spec["input"])
    if half:
        x = ops.Cast(x, to=ir.DataType.FLOAT16)
    (network_input,) = list(graph.inputs)
    network_input.replace_all_uses_with(x)
    outs = list(graph.outputs)
    ops = GraphBuilder(graph, "boxes")
    scores, boxes, maps = outs[:count], outs[count : 2 * count], outs[2 * count :]
    if two_stage:
        results = _second_stage(model, graph, ops, spec, (scores, boxes, maps), frame, nms, half)
    else:
        results = _single_stage(ops, spec, scores, boxes, frame, nms)
    graph.inputs.clear()
    graph.inputs.append(image)
    graph.outputs.clear()
    names = ("boxes", "scores", "labels") if nms else ("boxes", "scores")
    shapes: list[list[int | str]] = (
        [["boxes", 4], ["boxes"], ["boxes"]] if nms else [["boxes", 4], ["boxes", "classes"]]
    )
    for name, shape, value in zip(names, shapes, results, strict=True):
        out = ops.Identity(value)
        out.name, out.shape = name, ir.Shape(shape)
        out.dtype = ir.DataType.INT64 if name == "labels" else ir.DataType.FLOAT
        graph.outputs.append(out)
    for tidy in (passes.TopologicalSortPass(), passes.RemoveUnusedNodesPass()):
        tidy(exported)
    exported.metadata_props.clear()
    exported.metadata_props[METADATA] = json.dumps({**spec, "nms": "inside" if nms else "none"})
    proto = ir.to_proto(exported)
    for node in proto.graph.node:
        del node.metadata_props[:]  # the exporter's stack traces, with the paths of this machine
    # Where sizes are free, tracing gives maps of unlike sizes the same names of sides.
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _single_stage(
    ops: GraphBuilder,
    spec: Spec,
    scores: list[Value],
    boxes: list[Value],
    frame: parts.Frame,
    nms: bool,
) -> tuple[Value, ...]:
    boxes = [parts.to_image(ops, of_level, frame) for of_level in boxes]
    if not nms:
        return ops.Concat(*boxes, axis=0), ops.Concat(*scores, axis=0)
    threshold = spec["score_threshold"]
    levels = [
        parts.select(ops, *pair, nms_pre=spec["nms_pre"], score_threshold=threshold)
        for pair in zip(scores, boxes, strict=True)
    ]
    return _suppress(ops, parts.concatenate(ops, levels), spec)


def _second_stage(
    model: Any,
    graph: ir.Graph,
    ops: GraphBuilder,
    spec: Spec,
    dense: tuple[list[Value], list[Value], list[Value]],
    frame: parts.Frame,
    nms: bool,
    half: bool,
) -> tuple[Value, ...]:
    rpn = suppression(model.test_cfg.rpn)
    levels = []
    for i, (of_level, boxes) in enumerate(zip(*dense[:2], strict=True)):
        boxes = parts.clip(ops, boxes, frame.limits)
        boxes, scores, label = parts.select(
            ops, of_level, boxes, nms_pre=rpn["nms_pre"], score_threshold=-1
        )
        levels.append((boxes, scores, ops.Add(label, np.int64(i))))  # NMS within each level
    rpn["score_threshold"] = -0.5
    rois, _, _ = _suppress(ops, parts.concatenate(ops, levels), rpn)
    pooling = _pooling(model.roi_head.bbox_roi_extractor)
    maps = [ops.Cast(of_level, to=ir.DataType.FLOAT) if half else of_level for of_level in dense[2]]
    pooled, rois = parts.pool_rois(ops, maps[: len(pooling.strides)], rois, pooling)
    second = _export_rois(RoINetwork(model.roi_head), pooling, half)
    if half:
        pooled = ops.Cast(pooled, to=ir.DataType.FLOAT16)
    scores, boxes = parts.absorb(graph, second.graph, (pooled, rois), "rois")
    boxes = parts.to_image(ops, boxes, frame)  # (n, classes or 1, 4)
    classes = len(spec["classes"])
    flat_scores = ops.Reshape(scores, ops.ints(-1))
    boxes = ops.Expand(boxes, ops.ints(1, classes, 1))
    flat_boxes = ops.Reshape(boxes, ops.ints(-1, 4))
    if not nms:
        # A box of each class: as many boxes, each with the score of its class alone.
        own = ops.Unsqueeze(ops.value(np.eye(classes, dtype=np.float32)), ops.ints(0))
        alone = ops.Mul(ops.Unsqueeze(scores, ops.ints(1)), own)
        return flat_boxes, ops.Reshape(alone, ops.ints(-1, classes))
    count = ops.Size(flat_scores)
    labels = ops.Mod(ops.Range(np.int64(0), count, np.int64(1)), np.int64(classes))
    return _suppress(ops, (flat_boxes, flat_scores, labels), spec)


def _suppress(ops: GraphBuilder, found: parts.Parts, spec: Spec) -> parts.Parts:
    return parts.suppress(
        ops,
        found,
        iou_threshold=spec["iou_threshold"],
        score_threshold=spec["score_threshold"],
        max_boxes=spec["max_boxes"],
        min_box_size=spec["min_box_size"],
    )


def _pooling(extractor: Any) -> parts.Pooling:
    layer = extractor.roi_layers[0]
    kind = type(layer).__name__
    one_map = {"strides": extractor.featmap_strides, "channels": extractor.out_channels}
    if type(extractor).__name__ == "PSRoIExtractor" and kind == "PSRoIAlign":
        return parts.Pooling(
            kind,
            bins=layer.output_size,
            samples=layer.sampling_ratio,
            aligned=layer.aligned,
            maximum=layer.pool_mode == "max",
            **one_map,
        )
    if type(extractor).__name__ == "SingleRoIExtractor" and kind in ("RoIAlign", "RoIPool"):
        several = {**one_map, "bins": layer.output_size[0], "finest_scale": extractor.finest_scale}
        if kind == "RoIPool":
            return parts.Pooling(kind, **several)
        if layer.pool_mode == "avg":
            samples = layer.sampling_ratio
            return parts.Pooling(kind, samples=samples, aligned=layer.aligned, **several)
    raise ValueError(
        f"{type(extractor).__name__} with {kind} cannot be exported: what can are RoIPool, "
        "RoIAlign by the mean and PSRoIAlign"
    )


def _export_dense(network: DenseNetwork, spec: Spec, half: bool) -> ir.Model:
    made = spec["input"]
    size = _TRACED
    if made["resize"] != "keep":
        divisor = made["pad_divisor"]
        size = tuple(-(-made[side] // divisor) * divisor for side in ("height", "width"))
    free = {"x": {2: "rows", 3: "columns"}} if size is _TRACED else {}
    return _export(network, (torch.zeros(1, 3, *size),), free, half)


def _export_rois(network: RoINetwork, pooling: parts.Pooling, half: bool) -> ir.Model:
    x = torch.zeros(5, pooling.channels, pooling.bins, pooling.bins)
    free = {"x": {0: "rois"}, "rois": {0: "rois"}}
    return _export(network, (x, torch.zeros(5, 4)), free, half)


def _export(network: nn.Module, inputs: tuple[Tensor, ...], free: Any, half: bool) -> ir.Model:
    # By tracing: the exporter on torch.export takes up to 25 times as long where sizes are free.
    if half:
        network, inputs = network.half(), (inputs[0].half(), *inputs[1:])
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            network.eval(),
            inputs,
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=["x", "rois"][: len(inputs)],
            dynamic_axes=free,
        )
        return ir.from_proto(onnx.load(file))
