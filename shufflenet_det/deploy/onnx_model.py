"""The whole detector, from image to boxes, as one ONNX model of standard operators."""

import json
import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from .pipeline import Pipeline
from .spec import Spec

OPSET = 20  # supported by onnxruntime 1.17 and later
METADATA = "shufflenet_det"


def build(model: nn.Module, spec: Spec, *, nms: bool = True, half: bool = False) -> onnx.ModelProto:
    """Build and check a model of a :class:`~shufflenet_det.deploy.pipeline.Pipeline`.

    The input is ``image``; the outputs are ``boxes``, ``scores`` and, with NMS, ``labels``.
    """
    outputs = ["boxes", "scores", "labels"] if nms else ["boxes", "scores"]
    proto = trace(Pipeline(model, spec, nms=nms, half=half), outputs)
    text = json.dumps({**spec, "nms": "inside" if nms else "none"})
    onnx.helper.set_model_props(proto, {METADATA: text})
    onnx.checker.check_model(proto, full_check=True)
    return proto


def trace(module: nn.Module, outputs: list[str]) -> onnx.ModelProto:
    """Trace a module whose input is an image, (H, W, 3), and whose outputs have any length."""
    # With free sizes, the newer exporter (dynamo=True) takes up to 25 times as long.
    image = torch.randint(256, (240, 320, 3), dtype=torch.uint8)
    free = {"image": {0: "height", 1: "width"}, **{name: {0: "boxes"} for name in outputs}}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            module.eval(),
            (image,),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=outputs,
            dynamic_axes=free,
        )
        proto = onnx.load(file)
    # With free sizes, tracing gives the sides of different maps the same name.
    del proto.graph.value_info[:]
    return proto
