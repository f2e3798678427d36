"""Static 8-bit quantization of an exported ONNX model."""

import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..detector.sources import image_files, read_image

MIN_IMAGES = 100
MAX_IMAGES = 300  # with more images, the ranges hardly change
_LAYERS = ("Conv", "Gemm", "MatMul")
_ACTIVATIONS = ("Clip", "LeakyRelu", "Relu")
# Operators between layers. If they stayed in float, each unit would convert its maps four times.
_BETWEEN = (
    *(*_ACTIVATIONS, "Add", "AveragePool", "Concat", "Gather", "MaxPool", "Reshape", "Resize"),
    *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)


def calibration_images(source: str | Path) -> list[Path]:
    """Up to ``MAX_IMAGES`` images of a folder, evenly spaced, for calibration.

    Raises:
        FileNotFoundError: The folder does not exist or has no images.
        ValueError: The folder has fewer than ``MIN_IMAGES`` images.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise FileNotFoundError(f"--int8 {str(source)!r}: there is no such folder of images")
    files = image_files(folder)
    if len(files) < MIN_IMAGES:
        raise ValueError(
            f"--int8 {str(source)!r} has {len(files)} images: calibration needs {MIN_IMAGES} or "
            "more, typical of those in use"
        )
    step = max(1.0, len(files) / MAX_IMAGES)
    return [files[int(i * step)] for i in range(min(len(files), MAX_IMAGES))]


def quantize(proto: Any, images: Sequence[Path]) -> Any:
    """Quantize the network of an ONNX model: weights to int8 by channel, activations to uint8.

    The result has QDQ nodes. Preprocessing, the first layer, the last layer of each head (scores,
    box deltas or distributions of distances), decoding and NMS stay in float.

    Args:
        proto: The float32 model of :func:`~shufflenet_det.deploy.exporting.trace`.
        images: Images for the calibration of the activations' ranges.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.feeds: Iterator[dict[str, np.ndarray]] = (
                {"image": np.ascontiguousarray(read_image(path)[..., ::-1])} for path in images
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    # The other nodes are preprocessing, decoding and NMS.
    network = [n for n in proto.graph.node if n.name.startswith(("/network/", "/rois/"))]
    chosen = inner_nodes(network)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, result = (str(Path(folder) / name) for name in ("float.onnx", "int8.onnx"))
            onnx.save(proto, source)
            quantize_static(
                source,
                result,
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                nodes_to_quantize=chosen,
                extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": 0.05},
            )
            quantized = onnx.load(result)
    finally:
        logging.getLogger().setLevel(level)
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(proto.metadata_props)
    return quantized


def inner_nodes(network: Sequence[Any]) -> list[str]:
    """The names of the nodes to quantize, of a network's nodes in topological order.

    These are the nodes after the first layer and its activation, and before the last layers. The
    first layer's output has too wide a range: calibrated on 100 images, NanoDet-Plus on OpenVINO
    loses 0.6 points of mAP with this layer in float, and 2.2 points with it in 8 bits.
    """
    readers = defaultdict(list)
    for node in network:
        for name in node.input:
            readers[name].append(node)

    def following(node: Any) -> list[Any]:
        return [reader for out in node.output for reader in readers[out]]

    chosen: set[str] = set()  # nodes with a layer somewhere after them
    for node in reversed(network):
        if any(n.op_type in _LAYERS or n.name in chosen for n in following(node)):
            chosen.add(node.name)
    first = next(node for node in network if node.op_type in _LAYERS)
    chosen -= {first.name, *(n.name for n in following(first) if n.op_type in _ACTIVATIONS)}
    kinds = {*_LAYERS, *_BETWEEN}
    return [node.name for node in network if node.op_type in kinds and node.name in chosen]
