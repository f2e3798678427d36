"""From a config and a checkpoint to one file for a device."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..detector.torch_model import TorchModel
from .network import DenseNetwork
from .optimization import fold_norms
from .quantization import calibration_images, quantize
from .spec import Spec, describe

FORMATS = ".onnx, .xml (OpenVINO), .ncnn.param, .tflite or .pt2"


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
    """Write a detector as one file that needs none of this package.

    Args:
        model: A config's file, or a detector that is built already.
        checkpoint: Path or URL of the weights; None if ``model`` is a checkpoint that carries its
            config, or a built detector.
        out: The file; its suffix is the format: ``.onnx``, ``.xml``, ``.ncnn.param``, ``.tflite``
            or ``.pt2``.
        nms: Whether ``.onnx`` and ``.xml`` remove overlapping boxes themselves.
        half: Weights of float16.
        int8: Folder of images on which 8-bit ranges are set, for ``.onnx`` and ``.xml``; None: no
            quantization.
        trust: Execute the config that a checkpoint carries.

    Returns:
        The detector in PyTorch, to compare with.

    Raises:
        FileNotFoundError: A file or a folder is not there.
        ImportError: The format's converter is not installed.
        ValueError: The format is unknown or has no such option, the detector is none that can be
            exported, or the checkpoint does not fit.
        RuntimeError: The converter fails; nothing is left at ``out``.
    """
    out = Path(out)
    write = _writer(out, int8=int8 is not None)
    if not nms and out.suffix not in (".onnx", ".xml"):
        raise ValueError(f"{out.name}: only .onnx and .xml have NMS inside; leave --nms out")
    images: list[Path] = []
    if int8 is not None:
        if half:
            raise ValueError("--half and --int8 exclude each other: choose one")
        if out.suffix not in (".onnx", ".xml"):
            raise ValueError(f"{out.name}: only .onnx and .xml have --int8")
        images = calibration_images(int8)
    if isinstance(model, TorchModel):
        detector = model
    elif checkpoint is None:
        detector = TorchModel(None, model, device="cpu", trust=trust)
    else:
        detector = TorchModel(model, checkpoint, device="cpu", trust=trust)
    spec = describe(detector.cfg, detector.model, list(detector.classes))
    options = {"nms": nms, "half": half, "int8": images}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        write(fold_norms(detector.model), spec, Path(folder) / out.name, options)
        for file in sorted(Path(folder).iterdir()):
            os.replace(file, out.parent / file.name)
    return detector


Writer = Callable[[nn.Module, Spec, Path, dict[str, Any]], None]


def _writer(out: Path, *, int8: bool) -> Writer:
    """What writes the format of a file's name."""
    quantizer = ("onnxruntime",) if int8 else ()
    known: dict[str, tuple[Writer, Sequence[str]]] = {
        ".onnx": (_write_onnx, ("onnx", *quantizer)),
        ".xml": (_write_openvino, ("onnx", "openvino", *quantizer)),
        ".param": (_write_ncnn, ("pnnx",)),
        ".tflite": (_write_tflite, ("litert_torch",)),
        ".pt2": (_write_program, ()),
    }
    if out.suffix not in known:
        raise ValueError(f"{out.name}: an exported model ends in {FORMATS}")
    write, needed = known[out.suffix]
    extra = "tflite" if out.suffix == ".tflite" else "export"
    for package in needed:
        try:
            import_module(package)
        except ImportError as error:
            raise ImportError(
                f"{out.suffix} needs {package.replace('_', '-')}, which is not installed: "
                f"pip install 'shufflenet_det[{extra}]'"
            ) from error
    return write


def _write_onnx(model: nn.Module, spec: Spec, path: Path, options: dict[str, Any]) -> None:
    import onnx

    from .onnx_model import build

    proto = build(model, spec, nms=options["nms"], half=options["half"])
    if options["int8"]:
        proto = quantize(proto, options["int8"])
    onnx.save(proto, str(path))


def _write_openvino(model: nn.Module, spec: Spec, path: Path, options: dict[str, Any]) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        # Half precision is OpenVINO's own: it stores float16 and computes in what is fastest.
        _write_onnx(model, spec, file, {**options, "half": False})
        converted = openvino.convert_model(str(file))
        spec = {**spec, "nms": "inside" if options["nms"] else "none"}
        converted.set_rt_info(json.dumps(spec), ["shufflenet_det"])
        openvino.save_model(converted, str(path), compress_to_fp16=options["half"])


class _Raw(nn.Module):
    """A dense network with its levels in one: scores (n, classes), regressions (n, …)."""

    def __init__(self, network: DenseNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, boxes, _ = self.network(x)
        return torch.cat(scores), torch.cat(boxes)


def _raw_network(
    model: nn.Module, spec: Spec, path: Path, *, decoded: bool
) -> tuple[nn.Module, Tensor, list[Spec]]:
    """A network of one image size, an image for it, and the levels with their maps' sizes."""
    made = spec["input"]
    if hasattr(model, "roi_head") or made["resize"] == "keep":
        raise ValueError(
            f"{path.suffix} holds single-stage detectors on images of one size, and this is "
            f"{spec['detector']} on images that keep their ratio: export it as .onnx or .xml"
        )
    network = DenseNetwork(model, model.bbox_head, raw=not decoded)
    divisor = made["pad_divisor"]
    x = torch.zeros(1, 3, *(-(-made[side] // divisor) * divisor for side in ("height", "width")))
    with torch.no_grad():
        sizes = [scores.shape[-2:] for scores in network.maps(x)[1]]
    levels = [
        {**level, "height": int(height), "width": int(width)}
        for level, (height, width) in zip(network.levels, sizes, strict=True)
    ]
    return _Raw(network).eval(), x, levels


def _write_ncnn(model: nn.Module, spec: Spec, path: Path, options: dict[str, Any]) -> None:
    import pnnx

    network, x, levels = _raw_network(model, spec, path, decoded=False)
    stem = path.name.removesuffix(".param").removesuffix(".ncnn")
    with tempfile.TemporaryDirectory() as folder:
        where = os.path.join(folder, "model")
        with _quiet():
            pnnx.export(
                network,
                f"{where}.pt",
                x,
                ncnnparam=f"{where}.ncnn.param",
                ncnnbin=f"{where}.ncnn.bin",
                fp16=options["half"],
            )
        for suffix in ("param", "bin"):
            written = Path(f"{where}.ncnn.{suffix}")
            if not written.is_file():
                raise RuntimeError(f"pnnx did not write {stem}.ncnn.{suffix}: see its output above")
            path.with_suffix(f".{suffix}").write_bytes(written.read_bytes())
    _describe_beside(path, {**spec, "levels": levels})


def _write_tflite(model: nn.Module, spec: Spec, path: Path, options: dict[str, Any]) -> None:
    network, x, _ = _raw_network(model, spec, path, decoded=True)
    if options["half"]:
        raise ValueError(f"{path.name}: .tflite has no --half")
    with _quiet():
        import litert_torch

        litert_torch.convert(network, (x,)).export(str(path))
    _describe_beside(path, spec)


def _write_program(model: nn.Module, spec: Spec, path: Path, options: dict[str, Any]) -> None:
    network, x, _ = _raw_network(model, spec, path, decoded=True)
    if options["half"]:
        raise ValueError(".pt2 has no --half: the program runs in the precision of its input")
    program = torch.export.export(network, (x,))
    text = json.dumps({**spec, "nms": "none"})
    torch.export.save(program, str(path), extra_files={"shufflenet_det.json": text})


def _describe_beside(path: Path, spec: Spec) -> None:
    """Write the description of a format that has no place for it, as JSON beside the file."""
    text = json.dumps({**spec, "nms": "none"}, indent=1)
    path.with_suffix(".json").write_text(text, encoding="utf-8")


class _quiet:
    """Nothing is printed, by subprocesses neither, unless something raises."""

    def __enter__(self) -> None:
        self._file = tempfile.TemporaryFile()
        self._own = [os.dup(number) for number in (1, 2)]
        for number in (1, 2):
            os.dup2(self._file.fileno(), number)

    def __exit__(self, kind: Any, *rest: Any) -> None:
        for number, own in zip((1, 2), self._own, strict=True):
            os.dup2(own, number)
            os.close(own)
        if kind is not None:
            self._file.seek(0)
            os.write(2, self._file.read())
        self._file.close()
