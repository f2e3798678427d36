"""The runtimes of exported models: onnxruntime, OpenVINO, ncnn, LiteRT and torch.

The package of a runtime is imported when a file is opened.
"""

import functools
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
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "classes": list,
    "input": dict,
    **dict.fromkeys(("nms_pre", "max_boxes", "min_box_size"), (int, float)),
    **dict.fromkeys(("score_threshold", "iou_threshold"), (int, float)),
}
Engine = Callable[[np.ndarray], list[np.ndarray]]


def open_engine(path: Path, runtime: str | None, threads: int | None) -> tuple[Engine, Spec]:
    """Open an exported model; arguments and errors are those of :class:`.Detector`.

    Returns:
        A function from an RGB image, (H, W, 3), uint8, to the model's outputs; and the metadata.
    """
    if not path.is_file():
        raise FileNotFoundError(f"model {str(path)!r} not found")
    suffix = path.suffix.lower()
    allowed = [name for name, (_, _, suffixes) in RUNTIMES.items() if suffix in suffixes]
    if not allowed:
        known = sorted({s for _, _, suffixes in RUNTIMES.values() for s in suffixes})
        raise ValueError(f"{str(path)!r}: an exported model ends in {', '.join(known)}")
    name = allowed[0] if runtime is None else runtime
    if name not in allowed:
        raise ValueError(f"runtime={runtime!r}: {path.name} runs on {' or '.join(allowed)}")
    open_file, package, _ = RUNTIMES[name]
    wheel = package.partition(".")[0].replace("_", "-")
    try:
        module = import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{path.name} needs {wheel}, which is not installed: pip install {wheel}"
        ) from error
    try:
        engine, text = open_file(module, path, threads)
    except Exception as error:
        own = type(error).__module__.startswith(package)  # as onnxruntime's errors
        if own or isinstance(error, RuntimeError | ValueError):
            reason = " ".join(str(error).split())
            raise ValueError(f"{package} cannot read {str(path)!r}: {reason}") from error
        raise
    if not text:
        raise ValueError(
            f"{str(path)!r} has no metadata of shufflenet_det: export it with "
            "`shufflenet-det export`"
        )
    damaged = f"{str(path)!r}: the metadata of shufflenet_det is damaged"
    try:
        spec = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{damaged}: {error}") from error
    for key, kind in _FIELDS.items():
        if not isinstance(spec, dict) or not isinstance(spec.get(key), kind):
            raise ValueError(f"{damaged}: {key!r} is missing or has the wrong type")
    return (engine if suffix in (".onnx", ".xml") else _with_images(engine, spec)), spec


def _onnxruntime(module: Any, path: Path, threads: int | None) -> tuple[Engine, str | None]:
    options = module.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    session = module.InferenceSession(str(path), options, module.get_available_providers())
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    return lambda image: session.run(None, {"image": image}), text


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's ``Core``, one for the process.

    Each core that compiles a model gives the thread a new signal stack. If the older of two cores
    is deleted first, the stack that remains is unmapped memory, and the next signal that a Python
    handler takes ends the process (OpenVINO 2026.4). A DataLoader with workers sets such a handler.
    """
    return import_module("openvino").Core()


def _openvino(module: Any, path: Path, threads: int | None) -> tuple[Engine, str | None]:
    core = openvino_core()
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
    text = _beside(path, ".json").read_text(encoding="utf-8")
    weights = _beside(path, ".bin")
    net = module.Net()
    if threads:
        net.opt.num_threads = threads
    if net.load_param(str(path)) or net.load_model(str(weights)):
        raise RuntimeError("not an ncnn model, or its .bin file belongs to another model")

    def run(x: np.ndarray) -> list[np.ndarray]:
        extractor = net.create_extractor()
        # The Mat does not own the array, so it is copied.
        extractor.input("in0", module.Mat(x).clone())
        return [np.array(extractor.extract(f"out{i}")[1]) for i in range(2)]

    return run, text


def _litert(module: Any, path: Path, threads: int | None) -> tuple[Engine, str | None]:
    text = _beside(path, ".json").read_text(encoding="utf-8")
    interpreter = module.Interpreter(model_path=str(path), num_threads=threads)
    runner = interpreter.get_signature_runner()

    def run(x: np.ndarray) -> list[np.ndarray]:
        outs = runner(args_0=x[None])
        return [outs["output_0"], outs["output_1"]]

    return run, text


def _torch(module: Any, path: Path, threads: int | None) -> tuple[Engine, str | None]:
    if threads:
        module.set_num_threads(threads)
    files = {f"{METADATA}.json": ""}
    program = module.export.load(str(path), extra_files=files).module()
    text = files[f"{METADATA}.json"]

    def run(x: np.ndarray) -> list[np.ndarray]:
        with module.inference_mode():
            return [out.numpy() for out in program(module.from_numpy(x[None]))]

    return run, text


def _beside(path: Path, suffix: str) -> Path:
    """The file of another suffix that belongs to a model; FileNotFoundError if it is missing."""
    file = path.with_suffix(suffix)
    if not file.is_file():
        raise FileNotFoundError(f"{file.name!r} is missing beside {str(path)!r}")
    return file


def _with_images(network: Engine, spec: Spec) -> Engine:
    """Add preprocessing and decoding to a network whose input is (3, height, width), float32.

    The network's outputs are scores, (n, classes), and boxes, (n, 4), in pixels of the input. If
    the metadata have ``levels``, the second output has regressions instead of boxes.
    """
    size = np.array([spec["input"]["width"], spec["input"]["height"]] * 2)

    def run(image: np.ndarray) -> list[np.ndarray]:
        x, factors, offset = preprocess(image, spec["input"])
        scores, boxes = network(x)
        if "levels" in spec:
            boxes = _decode(boxes, spec["levels"])
        boxes = (np.clip(boxes, 0, size) - np.tile(offset, 2)) / np.tile(factors, 2)
        return [np.clip(boxes, 0, image.shape[1::-1] * 2).astype(np.float32), scores]

    return run


def preprocess(image: np.ndarray, spec: Spec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resize, normalise and pad an RGB image, (H, W, 3), uint8, by ``input`` of the metadata.

    Returns:
        The network's input, (3, height, width), float32; the resize factors (x, y); and the
        position of the image's corner (x, y).
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
    right, below = -full % spec["pad_divisor"]
    x = np.pad(x, ((0, below), (0, right), (0, 0)), constant_values=spec["pad_value"])
    return np.ascontiguousarray(x.transpose(2, 0, 1), np.float32), factors, offset


def _decode(regressions: np.ndarray, levels: list[Spec]) -> np.ndarray:
    """Decode all levels to boxes, (n, 4), in pixels of the network's input."""
    boxes, start = [], 0
    for level in levels:
        height, width = level["height"], level["width"]
        stop = start + height * width * len(level.get("anchors", "1"))
        boxes.append(decode_level(level, regressions[start:stop], height, width, np))
        start = stop
    return np.concatenate(boxes)


# For each runtime: the function that opens a file, the package, the suffixes of its files.
RUNTIMES: dict[str, tuple[Callable[..., tuple[Engine, str | None]], str, tuple[str, ...]]] = {
    "onnxruntime": (_onnxruntime, "onnxruntime", (".onnx",)),
    "openvino": (_openvino, "openvino", (".xml", ".onnx")),
    "ncnn": (_ncnn, "ncnn", (".param",)),
    "litert": (_litert, "ai_edge_litert.interpreter", (".tflite",)),
    "torch": (_torch, "torch", (".pt2",)),
}
