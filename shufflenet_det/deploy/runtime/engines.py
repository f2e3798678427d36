"""The runtimes that exported models run on: onnxruntime, OpenVINO, ncnn.

Each takes an RGB image and gives what the file's outputs are. Their packages are imported when a
file is opened.
"""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .decode import decode_level

METADATA = "shufflenet_det"
Spec = dict[str, Any]
Engine = Callable[[np.ndarray], list[np.ndarray]]


def open_engine(path: Path, runtime: str | None, threads: int | None) -> tuple[Engine, Spec]:
    """Open a file with a runtime.

    Args:
        path: ``.onnx``, ``.xml`` (OpenVINO) or ``.ncnn.param``.
        runtime: A name of ``RUNTIMES``; None is the file's own.
        threads: How many to run on; None is the runtime's choice.

    Returns:
        A function of an RGB image, (H, W, 3), uint8, to the file's outputs, and the description.

    Raises:
        FileNotFoundError: The file is not there.
        ImportError: The runtime is not installed.
        ValueError: The format or the runtime is not known, or the file is none of this package.
    """
    if not path.is_file():
        raise FileNotFoundError(f"model {str(path)!r} not found")
    suffix = path.suffix.lower()
    legal = [name for name, (_, _, suffixes) in RUNTIMES.items() if suffix in suffixes]
    if not legal:
        known = sorted({s for _, _, suffixes in RUNTIMES.values() for s in suffixes})
        raise ValueError(f"{str(path)!r}: an exported model ends in {', '.join(known)}")
    name = legal[0] if runtime is None else runtime
    if name not in legal:
        raise ValueError(f"runtime={runtime!r}: {path.name} runs on {' or '.join(legal)}")
    open_file, package, _ = RUNTIMES[name]
    try:
        module = import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{path.name} needs {package}, which is not installed: pip install {package}"
        ) from error
    try:
        engine, text = open_file(module, path, threads)
    except RuntimeError as error:
        raise ValueError(f"{package} cannot read {str(path)!r}: {error}") from error
    except Exception as error:
        if type(error).__module__.startswith(package):  # onnxruntime's are no RuntimeError
            raise ValueError(f"{package} cannot read {str(path)!r}: {error}") from error
        raise
    if not text:
        raise ValueError(
            f"{str(path)!r} has no metadata of shufflenet_det: export it with "
            "`shufflenet-det export`"
        )
    spec = json.loads(text)
    return engine, spec


def _onnxruntime(module: Any, path: Path, threads: int | None) -> tuple[Engine, str | None]:
    options = module.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    session = module.InferenceSession(str(path), options, module.get_available_providers())
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    return lambda image: session.run(None, {"image": image}), text


def _openvino(module: Any, path: Path, threads: int | None) -> tuple[Engine, str | None]:
    core = module.Core()
    model = core.read_model(str(path))
    text = None
    for key in ([METADATA], ["framework", METADATA]):
        if model.has_rt_info(key):
            text = str(model.get_rt_info(key).value)
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        config["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(model, "CPU", config)

    def run(image: np.ndarray) -> list[np.ndarray]:
        found = compiled(image)
        return [np.array(found[output]) for output in compiled.outputs]

    return run, text


def _ncnn(module: Any, path: Path, threads: int | None) -> tuple[Engine, str | None]:
    sidecar, weights = path.with_suffix(".json"), path.with_suffix(".bin")
    for needed in (sidecar, weights):
        if not needed.is_file():
            raise FileNotFoundError(f"{needed.name!r} is missing beside {str(path)!r}")
    text = sidecar.read_text(encoding="utf-8")
    spec = json.loads(text)
    net = module.Net()
    if threads:
        net.opt.num_threads = threads
    if net.load_param(str(path)) or net.load_model(str(weights)):
        raise ValueError(f"ncnn cannot read {str(path)!r}")

    def run(image: np.ndarray) -> list[np.ndarray]:
        x, factors, offset = preprocess(image, spec["input"])
        extractor = net.create_extractor()
        # The array has to outlive the Mat, which does not own it: hence the copy.
        extractor.input("in0", module.Mat(x).clone())
        outs = [np.array(extractor.extract(f"out{i}")[1]) for i in range(2)]
        boxes = _decode(outs[1], spec["levels"])
        boxes = np.clip(boxes, 0, [spec["input"]["width"], spec["input"]["height"]] * 2)
        boxes = (boxes - np.tile(offset, 2)) / np.tile(factors, 2)
        return [np.clip(boxes, 0, image.shape[1::-1] * 2).astype(np.float32), outs[0]]

    return run, text


def preprocess(image: np.ndarray, spec: Spec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resize, normalise and pad an RGB image for a network that does not do so itself.

    Args:
        image: (H, W, 3), uint8, RGB.
        spec: ``input`` of the metadata.

    Returns:
        (3, height, width), float32; factors of the resize, x and y; and where the image's corner
        lies, x and y.
    """
    size, full = np.array(image.shape[1::-1]), np.array([spec["width"], spec["height"]])
    factors = full / size
    if spec.get("keep_ratio"):
        factors[:] = factors.min()
    offset = (full - factors * size) / 2
    if spec["resize"] == "warp":
        matrix = np.array([[factors[0], 0, offset[0]], [0, factors[1], offset[1]], [0, 0, 1]])
        x: Any = cv2.warpPerspective(image, matrix, full.tolist())
    else:
        x = cv2.resize(image, full.tolist(), interpolation=cv2.INTER_LINEAR)
    if spec["channels"] == "BGR":
        x = x[..., ::-1]
    x = (x - np.array(spec["mean"], np.float32)) / np.array(spec["std"], np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1), np.float32), factors, offset


def _decode(regressions: np.ndarray, levels: list[Spec]) -> np.ndarray:
    """Boxes of all levels, (n, 4), in pixels of the network's input."""
    boxes, start = [], 0
    for level in levels:
        height, width = level["height"], level["width"]
        stop = start + height * width * len(level.get("anchors", "1"))
        boxes.append(decode_level(level, regressions[start:stop], height, width, np))
        start = stop
    return np.concatenate(boxes)


# Of each runtime what opens a file, its package, and the files it reads.
RUNTIMES: dict[str, tuple[Callable[..., tuple[Engine, str | None]], str, tuple[str, ...]]] = {
    "onnxruntime": (_onnxruntime, "onnxruntime", (".onnx",)),
    "openvino": (_openvino, "openvino", (".xml", ".onnx")),
    "ncnn": (_ncnn, "ncnn", (".param",)),
}
