"""Time this package's networks and tools against their alternatives.

Candidates take turns within a block. Each runtime has its own blocks, because the threads of a
runtime keep spinning for a while after a call and slow down the next runtime.
"""

import contextlib
import copy
import ctypes
import functools
import gc
import io
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from ..backbones import ShuffleNetV1, ShuffleNetV2
from ..host.amp import keep_depthwise_in_float32
from .optimization import optimize
from .runtime.engines import openvino_core
from .verification import photographs

PyTorch = "PyTorch"
PACKAGES = ("mmpretrain", "timm", "onnxruntime", "openvino", "faster-coco-eval", "pycocotools")
TIMM = ("mobilenetv3_large_100", "mobilenetv4_conv_small")


@dataclass
class Candidate:
    """A function to time, in the blocks of its runtime.

    The ratio is its median time over that of the candidate named ``base``. ``seconds`` has the time
    of each measured call.
    """

    name: str
    run: Callable[[], Any]
    runtime: str = PyTorch
    base: str = ""
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def metrics(self, base: "Candidate") -> dict[str, float]:
        """The ratio to ``base``, and the median and quartiles in milliseconds."""
        low, _, high = np.percentile(self.seconds, (25, 50, 75)) * 1e3
        numbers = {"ratio": self.median / base.median, "ms": self.median * 1e3}
        return {k: round(float(v), 3) for k, v in (numbers | {"low": low, "high": high}).items()}


def measure(
    candidates: Sequence[Candidate],
    *,
    blocks: int,
    rounds: int,
    threads: int,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Time all candidates, in turns, and fill in their ``seconds``.

    Each runtime has ``blocks`` blocks of ``rounds`` turns for each candidate. A turn is a warm-up
    call and a timed call. ``threads`` is for PyTorch; the other runtimes have their own setting.
    """
    torch.set_num_threads(threads)
    for _ in range(blocks):
        for runtime in dict.fromkeys(candidate.runtime for candidate in candidates):
            block = [candidate for candidate in candidates if candidate.runtime == runtime]
            for _ in range(rounds):
                for candidate in block:
                    candidate.run()  # so that the caches contain its own data
                    start = clock()
                    candidate.run()
                    candidate.seconds.append(clock() - start)


def operators(candidate: Candidate, rows: int = 12) -> str:
    """A table of the operators that take the most time of a candidate."""
    with torch.profiler.profile() as profile:
        candidate.run()
    return profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=rows)


class Missing(list[str]):
    """The names of peers that could not be measured, with the reason."""

    @contextlib.contextmanager
    def unless(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a foreign package may raise anything
            self.append(f"{what}: {type(error).__name__}: {str(error).splitlines()[0][:120]}")


def image(height: int, width: int, batch: int = 1) -> Tensor:
    """A normalised photograph, repeated: (batch, 3, height, width)."""
    photo = torch.from_numpy(cv2.resize(photographs()[0], (width, height)))
    return ((photo.permute(2, 0, 1).float() - 116) / 58).repeat(batch, 1, 1, 1)


def backbones(size: tuple[int, int], threads: int, missing: Missing) -> list[Candidate]:
    """V2 1.0x, V1 g3 1.0x and peers: in PyTorch's two memory formats, and as ONNX files."""
    x = image(*size)
    ours = {"V2 1.0x": ShuffleNetV2().eval(), "V1 g3 1.0x": ShuffleNetV1().eval()}
    found: list[Candidate] = []

    def add(name: str, network: nn.Module, base: str) -> None:
        last = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x_last = x.to(memory_format=torch.channels_last)
        found.append(Candidate(name, no_grad(network, x), base=base))
        found.append(Candidate(f"{name}, channels-last", no_grad(last, x_last), base=base))
        found.extend(exported(name, network, x, threads, base, missing))

    for version, network in ours.items():
        base = f"ours {version}, optimize()"
        found.append(Candidate(base, no_grad(optimize(network), x), base=base))
        add(f"ours {version}", network, base)
        with missing.unless(f"mmpretrain's ShuffleNet{version[:2]}"):
            from mmpretrain.models import backbones as peers

            kwargs = {"out_indices": (0, 1, 2)} | ({"groups": 3} if version[1] == "1" else {})
            peer = getattr(peers, f"ShuffleNet{version[:2]}")(**kwargs).eval()
            add(f"mmpretrain {version}", peer, base)
    base = found[0].name
    with missing.unless("torchvision's ShuffleNetV2"):
        add("torchvision V2 1.0x", torchvision_v2(), base)
    for name in TIMM:
        with missing.unless(f"timm's {name}"):
            import timm

            peer = timm.create_model(name, features_only=True, out_indices=(2, 3, 4)).eval()
            add(f"timm {name}", peer, base)
    return found


def torchvision_v2(width: float = 1.0) -> nn.Module:
    """torchvision's ShuffleNetV2 as a backbone that returns the maps of its three stages."""
    from torchvision.models import get_model
    from torchvision.models.feature_extraction import create_feature_extractor

    network = get_model(f"shufflenet_v2_x{width:.1f}".replace(".", "_")).eval()
    return create_feature_extractor(network, ["stage2", "stage3", "stage4"])


def no_grad(network: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """A call of a network without gradients."""
    return torch.inference_mode()(functools.partial(network, *arguments))


def exported(
    name: str, network: nn.Module, x: Tensor, threads: int, base: str, missing: Missing
) -> list[Candidate]:
    """A network as an ONNX file in onnxruntime and in OpenVINO."""
    found = []
    with tempfile.TemporaryDirectory() as folder, missing.unless(f"{name} as ONNX"):
        path = str(Path(folder) / "network.onnx")
        with contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(network, (x,), path, dynamo=False, opset_version=17)
        array = x.numpy()
        with missing.unless("onnxruntime"):
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            # Else the threads of one file spin on while the next candidate is timed.
            options.add_session_config_entry("session.force_spinning_stop", "1")
            if os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive":  # as PyTorch's threads
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            session = onnxruntime.InferenceSession(path, options)
            run = functools.partial(session.run, None, {session.get_inputs()[0].name: array})
            found.append(Candidate(f"{name}, onnxruntime", run, "onnxruntime", base))
        with missing.unless("OpenVINO"):
            hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
            run = functools.partial(openvino_core().compile_model(path, "CPU", hints), [array])
            found.append(Candidate(f"{name}, OpenVINO", run, "OpenVINO", base))
    return found


def detectors(size: tuple[int, int], threads: int, missing: Missing) -> list[Candidate]:
    """NanoDet-Plus and SSDLite with random weights, from an image of ``size`` to boxes."""
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    found: list[Candidate] = []
    x = image(*size)
    data = batch_of(x, 0)
    base = f"{next(iter(DETECTORS))}, optimize()"
    for name, config in DETECTORS.items():
        with missing.unless(name):
            model: Any = built(config)
            fast: Any = optimize(model)
            for label, network in ((f"{name}, optimize()", fast), (name, model)):
                found.append(Candidate(label, no_grad(network.predict, *data), base=base))
            # Called without mode="predict", the model returns the head's raw outputs.
            found.extend(exported(f"{name}, no boxes", model, x, threads, base, missing))
    with missing.unless("torchvision SSDLite-MobileNetV3"):
        kwargs = {"weights": None, "weights_backbone": None, "score_thresh": 0.02}  # mmdet's
        peer = ssdlite320_mobilenet_v3_large(**kwargs).eval()
        name = "torchvision SSDLite-MobileNetV3"
        found.append(Candidate(name, no_grad(peer, [x[0]]), base=base))
        network = nn.Sequential(peer.backbone, _Values(), peer.head).eval()
        found.extend(exported(f"{name}, no boxes", network, x, threads, base, missing))
    return found


DETECTORS = {
    "ours NanoDet-Plus-m": "nanodet/nanodet_plus_m_320",
    "ours SSDLite-ShuffleNetV2": "ssdlite320_shufflenet_coco",
    "mmdet SSDLite-MobileNetV2": "mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py",
}


class _Values(nn.Module):
    def forward(self, maps: dict[str, Tensor]) -> list[Tensor]:
        return list(maps.values())


def built(config: str, *, train: bool = False) -> Any:
    """A detector of a shipped config or of one of mmdet's configs, with random weights."""
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config
    from mmengine.hub import get_config

    from ..config_files import find_config

    register_all_modules()
    cfg = get_config(config) if "::" in config else Config.fromfile(find_config(config))
    cfg.model.backbone.init_cfg = None
    if not train:
        cfg.model.train_cfg = None
    model = MODELS.build(cfg.model)
    logging.disable(logging.INFO)  # mmengine's list of every tensor
    model.init_weights()
    logging.disable(logging.NOTSET)
    return model.train(train)


def batch_of(x: Tensor, boxes: int) -> tuple[Tensor, list[Any]]:
    """The arguments of an mmdet model: images with ``boxes`` annotated boxes each."""
    from mmdet.testing import demo_mm_inputs

    shape = tuple(x.shape[1:])
    samples = demo_mm_inputs(len(x), [shape] * len(x), [boxes] * len(x), 80)["data_samples"]
    for sample in samples:
        keys = ("batch_input_shape", "pad_shape", "img_shape")
        sample.set_metainfo(dict.fromkeys(keys, shape[1:]))
    return x, samples


def steps(size: tuple[int, int], batch: int, missing: Missing) -> list[Candidate]:
    """A training step of the backbones, and of detectors including mmdet's SSDLite."""
    x = image(*size, batch)
    found: list[Candidate] = []

    def mean(network: Any) -> Tensor:
        maps = network(x)
        return sum(m.float().mean() for m in (maps.values() if isinstance(maps, dict) else maps))

    for version, kind in (("V2 1.0x", ShuffleNetV2), ("V1 g3 1.0x", ShuffleNetV1)):
        torch.manual_seed(0)
        base = f"ours {version}, channels-last, bfloat16"
        last: Any = kind().to(memory_format=torch.channels_last)
        found.append(Candidate(base, step(copy.deepcopy(last), mean, half=True), base=base))
        found.append(Candidate(f"ours {version}, channels-last", step(last, mean), base=base))
        found.append(Candidate(f"ours {version}", step(kind(), mean), base=base))
        if kind is ShuffleNetV2:
            peer = torchvision_v2()
            found.append(Candidate("torchvision V2 1.0x", step(peer, mean), base=base))
    data = batch_of(x, 7)
    base = next(iter(DETECTORS))
    for name, config in DETECTORS.items():
        with missing.unless(name):
            loss = lambda model: model.parse_losses(model.loss(*data))[0]  # noqa: E731
            found.append(Candidate(name, step(built(config, train=True), loss), base=base))
            last = built(config, train=True).to(memory_format=torch.channels_last)
            label = f"{name}, channels-last, bfloat16"
            found.append(Candidate(label, step(last, loss, half=True), base=base))
    return found


def step(network: Any, loss: Callable[[Any], Tensor], *, half: bool = False) -> Callable[[], None]:
    """One step of SGD."""
    optimizer = torch.optim.SGD(network.train().parameters(), lr=1e-6, momentum=0.9)
    if half:
        keep_depthwise_in_float32(network)

    def take() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            value = loss(network)
        value.backward()
        optimizer.step()

    return take


def synthetic_annotations(images: int) -> dict[str, Any]:
    """Annotations with COCO's categories, and 7 boxes with polygons on each image."""
    from mmdet.datasets import CocoDataset

    random = np.random.default_rng(0)
    count = 7 * images
    boxes = random.uniform((0, 0, 8, 8), (400, 400, 240, 240), (count, 4)).round(2)
    polygon = [[float(i) + 0.25 for i in range(40)]]
    return {
        "images": [
            {"id": i + 1, "file_name": f"{i:012}.jpg", "width": 640, "height": 480}
            for i in range(images)
        ],
        "annotations": [
            {
                "id": i + 1,
                "image_id": i // 7 + 1,
                "category_id": int(random.integers(1, 81)),
                "bbox": box.tolist(),
                "area": float(box[2] * box[3]),
                "iscrowd": int(random.random() < 0.01),
                "segmentation": polygon,
            }
            for i, box in enumerate(boxes)
        ],
        "categories": [
            {"id": i, "name": name} for i, name in enumerate(CocoDataset.METAINFO["classes"], 1)
        ],
    }


def evaluations(images: int, missing: Missing) -> list[Candidate]:
    """The COCO evaluation of ``images`` images with 100 detections each, in 80 classes."""
    from faster_coco_eval import COCO as FastCOCO
    from faster_coco_eval import COCOeval_faster
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = synthetic_annotations(images)
    random = np.random.default_rng(1)
    detections = []
    for i in range(100 * images):
        near = truth["annotations"][i // 100 * 7 + i % 7]
        box = np.maximum(near["bbox"] + random.normal(0, 6, 4), 1)
        label = near["category_id"] if i % 100 < 14 else int(random.integers(1, 81))
        found = {"image_id": near["image_id"], "category_id": label, "bbox": box.tolist()}
        detections.append({**found, "score": float(random.random())})
    stats: dict[str, Any] = {}

    def run(name: str, dataset: Any, evaluation: Any) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            annotated = dataset()
            annotated.dataset = truth
            annotated.createIndex()
            found = evaluation(annotated, annotated.loadRes(detections), "bbox")
            found.evaluate()
            found.accumulate()
            found.summarize()
        stats[name] = np.array(found.stats[:12])
        if np.abs(stats[name] - next(iter(stats.values()))).max() > 1e-9:
            missing.append(f"{name}: its twelve metrics differ from the other library's")

    classes = {"faster-coco-eval": (FastCOCO, COCOeval_faster), "pycocotools": (COCO, COCOeval)}
    return [
        Candidate(name, functools.partial(run, name, *of_library), base="faster-coco-eval")
        for name, of_library in classes.items()
    ]


def annotations(images: int) -> list[Candidate]:
    """Reading an annotation file of ``images`` images."""
    from mmdet.datasets import CocoDataset
    from pycocotools.coco import COCO

    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "annotations.json"
    path.write_text(json.dumps(synthetic_annotations(images)), encoding="utf-8")

    def dataset() -> Any:
        filters = {"filter_empty_gt": True, "min_size": 32}
        kwargs = {"data_prefix": {"img": ""}, "filter_cfg": filters, "pipeline": []}
        with contextlib.redirect_stdout(io.StringIO()):
            return folder, CocoDataset(ann_file=str(path), **kwargs)

    def index() -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            return COCO(str(path))

    base = "CocoDataset, filtered, ready to be shared"
    return [
        Candidate(base, dataset, base=base),
        Candidate("pycocotools' index alone", index, base=base),
        Candidate("json alone", lambda: json.loads(path.read_bytes()), base=base),
    ]


def growth(missing: Missing) -> list[Candidate]:
    """V2 by image side, batch size and width; ours optimized, torchvision's unchanged."""
    found: list[Candidate] = []
    cases = [(side, 1, 1.0) for side in (320, 160, 640, 1280)]
    cases += [(320, batch, 1.0) for batch in (8, 32)] + [(320, 1, w) for w in (0.5, 1.5, 2.0)]
    for side, batch, width in cases:
        x = image(side, side, batch)
        kind = f"side {side}, batch {batch}, width {width:g}x"
        network = optimize(ShuffleNetV2(widen_factor=width))
        base = f"ours, {kind}"
        found.append(Candidate(base, no_grad(network, x), base=found[0].name if found else base))
        run = no_grad(torchvision_v2(width), x)
        found.append(Candidate(f"torchvision, {kind}", run, base=found[0].name))
    return found


def peak_megabytes(run: Callable[[], Any]) -> float | None:
    """The peak of a call's memory above the memory before it; None if the system cannot tell."""
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # return the memory that earlier calls freed
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _status("VmRSS")
        run()
        return (_status("VmHWM") - before) / 1024
    except (AttributeError, OSError, TypeError):  # not Linux, or another C library
        return None


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))
