"""Export a detector to one file for a device."""

import contextlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..detector.torch_model import TorchModel
from .network import DenseNetwork
from .optimization import fold_norms
from .pipeline import Pipeline
from .quantization import calibration_images, quantize
from .runtime.engines import METADATA
from .spec import Spec, describe

OPSET = 20  # supported by onnxruntime 1.17 and later


def export(
    model: str | Path | TorchModel,
    checkpoint: str | Path | None,
    out: str | Path,
    *,
    nms: bool = True,
    half: bool = False,
    int8: str | Path | None = None,
    trust: bool = False,
) -> TorchModel:
    """Write a detector as one file that runs without this package.

    Args:
        model: A config file, or a detector that is already built.
        checkpoint: Path or URL of the weights; None if ``model`` is a built detector, or a
            checkpoint that contains its config.
        out: The file to write. Its suffix selects the format: ``.onnx``, ``.xml``,
            ``.ncnn.param``, ``.tflite`` or ``.pt2``.
        nms: Include non-maximum suppression, in ``.onnx`` and ``.xml``.
        half: Store float16 weights, in ``.onnx``, ``.xml`` and ``.param``.
        int8: Quantize ``.onnx`` or ``.xml`` to 8 bits, calibrated on this folder of images.
        trust: Execute the config that a checkpoint contains.

    Returns:
        The detector in PyTorch, for comparison.

    Raises:
        FileNotFoundError: A file or folder does not exist.
        ImportError: The format's converter is not installed.
        ValueError: The format is unknown or lacks an option, the detector cannot be exported, or
            the checkpoint does not fit.
        RuntimeError: The converter fails; nothing is left at ``out``.
    """
    out = Path(out)
    if out.suffix not in _FORMATS:
        raise ValueError(f"{out.name}: an exported model ends in {', '.join(_FORMATS)}")
    write, packages, _ = _FORMATS[out.suffix]
    asked = {"--nms none": not nms, "--half": half, "--int8": int8 is not None}
    for option in (option for option, value in asked.items() if value):
        allowed = [suffix for suffix, (_, _, options) in _FORMATS.items() if option in options]
        if out.suffix not in allowed:
            raise ValueError(f"{out.name}: only {' and '.join(allowed)} support {option}")
    if half and int8 is not None:
        raise ValueError("--half and --int8 exclude each other: choose one")
    for package in [*packages, *(["onnxruntime"] if int8 is not None else [])]:
        try:
            import_module(package)
        except ImportError as error:
            extra = "tflite" if out.suffix == ".tflite" else "export"
            raise ImportError(
                f"{out.suffix} needs {package.replace('_', '-')}, which is not installed: "
                f"pip install 'shufflenet_det[{extra}]'"
            ) from error
    images = calibration_images(int8) if int8 is not None else []
    if isinstance(model, TorchModel):
        detector = model
    else:
        config, weights = (None, model) if checkpoint is None else (model, checkpoint)
        detector = TorchModel(config, weights, device="cpu", trust=trust)
    spec = describe(detector.cfg, detector.model, list(detector.classes))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        options = {"nms": nms, "half": half, "int8": images}
        write(fold_norms(detector.model), spec, Path(folder) / out.name, **options)
        for file in sorted(Path(folder).iterdir()):
            os.replace(file, out.parent / file.name)
    return detector


def _write_onnx(model: nn.Module, spec: Spec, path: Path, nms: bool, half: bool, int8: Any) -> None:
    import onnx

    outputs = ["boxes", "scores", "labels"] if nms else ["boxes", "scores"]
    proto = trace(Pipeline(model, spec, nms=nms, half=half), outputs)
    onnx.helper.set_model_props(proto, {METADATA: _description(spec, nms)})
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(quantize(proto, int8) if int8 else proto, str(path))


def trace(module: nn.Module, outputs: list[str]) -> Any:
    """Trace a module to an ONNX model.

    The input is ``image``, (height, width, 3), uint8; the outputs have any length.
    """
    import onnx

    image = torch.randint(256, (240, 320, 3), dtype=torch.uint8)
    free = {"image": {0: "height", 1: "width"}, **{name: {0: "boxes"} for name in outputs}}
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            module.eval(),
            (image,),
            file,
            dynamo=False,  # dynamo=True takes up to 25 times as long with free sizes
            opset_version=OPSET,
            input_names=["image"],
            output_names=outputs,
            dynamic_axes=free,
        )
        proto = onnx.load(file)
    # With free sizes, tracing gives the sides of different maps the same name.
    del proto.graph.value_info[:]
    return proto


def _write_openvino(
    model: nn.Module, spec: Spec, path: Path, nms: bool, half: bool, int8: Any
) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        # OpenVINO makes half precision itself: it stores float16 and computes in the fastest type.
        _write_onnx(model, spec, file, nms, half=False, int8=int8)
        converted = openvino.convert_model(str(file))
    converted.set_rt_info(_description(spec, nms), [METADATA])
    openvino.save_model(converted, str(path), compress_to_fp16=half)


class _Joined(nn.Module):
    """A dense network with all levels joined: scores (n, classes), regressions (n, …)."""

    def __init__(self, network: DenseNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, boxes, _ = self.network(x)
        return torch.cat(scores), torch.cat(boxes)


def _raw_network(
    model: nn.Module, spec: Spec, path: Path, *, decoded: bool
) -> tuple[nn.Module, Tensor, list[Spec]]:
    """The network for one image size, an input for it, and its levels with their maps' sizes."""
    image = spec["input"]
    if hasattr(model, "roi_head") or image["resize"] == "keep":
        raise ValueError(
            f"{path.suffix} supports single-stage detectors with one image size only: export this "
            f"{spec['detector']} as .onnx or .xml"
        )
    network = DenseNetwork(model, model.bbox_head, raw=not decoded)
    divisor = image["pad_divisor"]
    x = torch.zeros(1, 3, *(-(-image[side] // divisor) * divisor for side in ("height", "width")))
    with torch.no_grad():
        sizes = [scores.shape[-2:] for scores in network.maps(x)[1]]
    levels = [
        {**level, "height": int(height), "width": int(width)}
        for level, (height, width) in zip(network.levels, sizes, strict=True)
    ]
    return _Joined(network).eval(), x, levels


def _write_ncnn(model: nn.Module, spec: Spec, path: Path, half: bool, **options: Any) -> None:
    import pnnx

    network, x, levels = _raw_network(model, spec, path, decoded=False)
    with tempfile.TemporaryDirectory() as folder:
        written = {suffix: f"{folder}/model.ncnn.{suffix}" for suffix in ("param", "bin")}
        files = {f"ncnn{suffix}": file for suffix, file in written.items()}
        with _quiet():
            pnnx.export(network, f"{folder}/model.pt", x, **files, fp16=half)
        for suffix, file in written.items():
            if not Path(file).is_file():
                raise RuntimeError(f"pnnx failed to convert {path.name}: it wrote no .{suffix}")
            path.with_suffix(f".{suffix}").write_bytes(Path(file).read_bytes())
    path.with_suffix(".json").write_text(_description({**spec, "levels": levels}), encoding="utf-8")


def _write_tflite(model: nn.Module, spec: Spec, path: Path, **options: Any) -> None:
    network, x, _ = _raw_network(model, spec, path, decoded=True)
    with _quiet():
        import litert_torch

        litert_torch.convert(network, (x,)).export(str(path))
    path.with_suffix(".json").write_text(_description(spec), encoding="utf-8")


def _write_program(model: nn.Module, spec: Spec, path: Path, **options: Any) -> None:
    network, x, _ = _raw_network(model, spec, path, decoded=True)
    program = torch.export.export(network, (x,))
    files = {f"{METADATA}.json": _description(spec)}
    torch.export.save(program, str(path), extra_files=files)


def _description(spec: Spec, nms: bool = False) -> str:
    return json.dumps({**spec, "nms": "inside" if nms else "none"}, indent=1)


# For each format: the function that writes it, the packages it needs, the options it supports.
_FORMATS: dict[str, tuple[Any, list[str], list[str]]] = {
    ".onnx": (_write_onnx, ["onnx"], ["--nms none", "--half", "--int8"]),
    ".xml": (_write_openvino, ["onnx", "openvino"], ["--nms none", "--half", "--int8"]),
    ".param": (_write_ncnn, ["pnnx"], ["--half"]),
    ".tflite": (_write_tflite, ["litert_torch"], []),
    ".pt2": (_write_program, [], []),
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide the output of this process and its subprocesses, and print it if an error is raised."""
    own = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile() as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        try:
            yield
        except BaseException:
            file.seek(0)
            os.write(own[1], file.read())
            raise
        finally:
            for number, copy in zip((1, 2), own, strict=True):
                os.dup2(copy, number)
                os.close(copy)
