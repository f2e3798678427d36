#!/usr/bin/env python
"""Test the readers, the ops and the runtime with damaged and hostile input.

Each chunk of inputs runs in its own process with a memory limit, so crashes and hangs are detected.
An input may be accepted, or refused with a ValueError or OSError that names its file. All other
results are printed with their seed. To repeat one:
``tools/fuzz.py --target annotations --first SEED --inputs 1``.

    tools/fuzz.py --inputs 20000 --results
"""

import argparse
import collections
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CHUNK = 2500
SECONDS = 900  # time limit of a chunk
MEMORY = 6 << 30
MODEL = "FUZZED_MODEL"  # environment variable with the path of the exported detector

State = dict
Target = tuple[Callable[[Path], State], Callable[[State, random.Random, Path], None]]


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """Change, cut, copy or insert a few bytes."""
    data = bytearray(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and place < len(data):
            data[place] = rng.randrange(256)
        elif kind == 1:
            del data[place : place + rng.randint(1, 64)]
        elif kind == 2:
            data[place:place] = rng.randbytes(rng.randint(1, 16))
        elif kind == 3:
            data[place:place] = data[place : place + rng.randint(1, 256)]
        else:
            del data[place:]
    return bytes(data)


ODD = [
    None,
    True,
    -1,
    0,
    1.5,
    float("nan"),
    float("inf"),
    1e400,
    10**30,
    "",
    "7",
    "../../x",
    [],
    {},
]


def mutated(value: object, rng: random.Random) -> object:
    """Replace, remove or repeat one to three values of a JSON document."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.randint(1, 3)):
        places: list = []
        stack = [value]
        while stack:
            node = stack.pop()
            keys = list(node) if isinstance(node, dict) else range(len(node))
            places += [(node, key) for key in keys]
            stack += [node[key] for key in keys if isinstance(node[key], dict | list)]
        if not places:
            break
        node, key = rng.choice(places)
        kind = rng.randrange(3)
        if kind == 0:
            node[key] = rng.choice(ODD)
        elif kind == 1:
            del node[key]
        elif isinstance(node, list):
            node.append(node[key])
        else:
            node[str(rng.random())] = node.pop(key)
    return value


def annotations_state(folder: Path) -> State:
    from PIL import Image

    images = [{"id": i, "file_name": f"{i}.png", "width": 8, "height": 6} for i in range(3)]
    for image in images:
        Image.new("RGB", (8, 6)).save(folder / image["file_name"])
    boxes = [
        {"id": i, "image_id": i % 3, "category_id": 1 + i % 2, "bbox": [1, 1, 3 + i, 2]}
        for i in range(5)
    ]
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return {"content": {"images": images, "annotations": boxes, "categories": names}}


def annotations(state: State, rng: random.Random, path: Path) -> None:
    from shufflenet_det.data import annotations, check
    from shufflenet_det.data.split import split

    path = path.with_suffix(".json")
    if rng.random() < 0.3:
        path.write_bytes(damaged(json.dumps(state["content"]).encode(), rng))
    else:
        path.write_text(json.dumps(mutated(state["content"], rng)))
    content, _ = annotations.read_and_repair(path, path.parent)
    check.check_annotations(content, ("cat", "dog"), 4)
    check.check_images(content, path.parent)
    fixed, _ = check.fix(content, path.parent)
    if len(fixed["images"]) > 1:
        split(fixed, {"train": 0.5, "val": 0.5})


LABELS = {
    "a.txt": b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.3 0.1 0.2 0.4\n",
    "a.xml": b"<annotation><filename>a.png</filename><size><width>8</width><height>6</height>"
    b"</size><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax>"
    b"<ymax>5</ymax></bndbox></object></annotation>",
    "a.json": b'{"imagePath": "a.png", "imageWidth": 8, "imageHeight": 6, "shapes": [{"label": '
    b'"cat", "shape_type": "rectangle", "points": [[1, 1], [4, 5]]}]}',
    "annotations.xml": b'<annotations><image name="a.png" width="8" height="6"><box label="cat" '
    b'xtl="1" ytl="1" xbr="4" ybr="5"/></image></annotations>',
    "data.yaml": b"names: [cat, dog]\n",
}


def formats(state: State, rng: random.Random, path: Path) -> None:
    from PIL import Image

    from shufflenet_det.data.formats import read_source

    path.mkdir()
    Image.new("RGB", (8, 6)).save(path / "a.png")
    name = rng.choice([name for name in LABELS if name != "data.yaml"])
    (path / name).write_bytes(damaged(LABELS[name], rng))
    if name == "a.txt":
        (path / "data.yaml").write_bytes(damaged(LABELS["data.yaml"], rng))
    read_source(path, rng.choice([None, {"a.txt": "yolo", "a.xml": "voc"}.get(name)]))


def weights_state(folder: Path) -> State:
    import io

    import torch
    from safetensors.torch import save

    from shufflenet_det import ShuffleNetV2

    tensors = ShuffleNetV2(0.5, stage_repeats=(1, 1, 1)).state_dict()
    files = {".safetensors": save({name: tensor.contiguous() for name, tensor in tensors.items()})}
    for suffix, options in ((".pth", {}), (".pt", {"_use_new_zipfile_serialization": False})):
        buffer = io.BytesIO()
        torch.save({"state_dict": tensors, "meta": {"epoch": 1, "cfg": "a = 1"}}, buffer, **options)
        files[suffix] = buffer.getvalue()
    return {"files": files}


def weights(state: State, rng: random.Random, path: Path) -> None:
    from shufflenet_det.weights.loading import read_weights

    suffix = rng.choice(list(state["files"]))
    path = path.with_suffix(suffix)
    raw = state["files"][suffix]
    # Most of a file is numbers, where damage cannot be detected: damage the ends half of the time.
    if rng.random() < 0.5:
        size = min(len(raw), 4096)
        raw = (
            damaged(raw[:size], rng) + raw[size:]
            if rng.random() < 0.5
            else (raw[:-size] + damaged(raw[-size:], rng))
        )
    else:
        raw = damaged(raw, rng)
    path.write_bytes(raw)
    read_weights(str(path))


def ops(state: State, rng: random.Random, path: Path) -> None:
    import torch
    from mmcv.ops import ModulatedDeformConv2d, RoIAlign, RoIPool, batched_nms, nms

    numbers = [0.0, 1.0, 3.5, -2.0, 1e6, -1e6, float("nan"), float("inf"), float("-inf")]
    count = rng.randint(0, 4)
    rois = torch.tensor([[rng.choice(numbers) for _ in range(5)] for _ in range(count)])
    rois = rois.reshape(-1, 5)
    features = torch.rand(2, 3, 8, 9, requires_grad=True)
    kind = rng.randrange(4)
    if kind == 0:
        sampling, mode = rng.randint(0, 2), rng.choice(["avg", "max"])
        out = RoIAlign(2, rng.choice([1.0, 0.25]), sampling, mode, rng.random() < 0.5)(
            features, rois
        )
        out.sum().backward()
    elif kind == 1:
        RoIPool(2, 1.0)(features, rois).sum().backward()
    elif kind == 2:
        layer = ModulatedDeformConv2d(3, 2, 3, padding=1)
        offset = torch.tensor([rng.choice(numbers) for _ in range(2 * 18 * 8 * 9)])
        layer(features, offset.reshape(2, 18, 8, 9), torch.rand(2, 9, 8, 9)).sum().backward()
    else:
        scores = torch.tensor([rng.choice(numbers) for _ in range(count)])
        nms(rois[:, :4], scores, 0.5)
        if count:  # mmcv's own function fails without boxes
            batched_nms(
                rois[:, :4], scores, torch.zeros(count), {"type": "nms", "iou_threshold": 0.5}
            )


def runtime_state(folder: Path) -> State:
    """An exported detector, created once for all processes."""
    return {"raw": Path(os.environ[MODEL]).read_bytes()}


def export_model(folder: Path) -> Path:
    """Export NanoDet-m with random weights to ONNX, and return the file."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config

    from shufflenet_det.config_files import find_config
    from shufflenet_det.deploy import export

    config = find_config("nanodet_m_320")
    model = MODELS.build(Config.fromfile(config).model)
    classes = [f"class {i}" for i in range(80)]
    checkpoint = {"state_dict": model.state_dict(), "meta": {"dataset_meta": {"classes": classes}}}
    torch.save(checkpoint, folder / "model.pth")
    export(config, folder / "model.pth", folder / "model.onnx")
    return folder / "model.onnx"


def runtime(state: State, rng: random.Random, path: Path) -> None:
    import numpy as np
    import onnx

    from shufflenet_det.deploy import Detector

    path = path.with_suffix(".onnx")
    if rng.random() < 0.5:
        raw = state["raw"]
        size = 4096
        part = damaged(raw[-size:], rng) if rng.random() < 0.7 else raw[-size:]
        path.write_bytes(damaged(raw[:size], rng) + raw[size:-size] + part)
    else:
        model = onnx.load_from_string(state["raw"])
        entry = rng.choice(model.metadata_props)
        try:
            entry.value = json.dumps(mutated(json.loads(entry.value), rng))
        except ValueError:
            entry.value = damaged(entry.value.encode(), rng).decode("latin-1")
        path.write_bytes(model.SerializeToString())
    shape = (rng.randint(1, 20), rng.randint(1, 20), rng.choice([1, 3, 4]))
    Detector(str(path))(np.zeros(shape, np.uint8))


TARGETS: dict[str, Target] = {
    "annotations": (annotations_state, annotations),
    "label formats": (lambda folder: {}, formats),
    "weights": (weights_state, weights),
    "ops": (lambda folder: {}, ops),
    "runtime": (runtime_state, runtime),
}


def work(target: str, first: int, inputs: int) -> None:
    """Run a chunk in this process, and print the result as one JSON line."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    import warnings

    import shufflenet_det  # noqa: F401

    warnings.simplefilter("ignore")
    prepare, attempt = TARGETS[target]
    counts: collections.Counter[str] = collections.Counter()
    finds = []
    with tempfile.TemporaryDirectory() as folder:
        state = prepare(Path(folder))
        for seed in range(first, first + inputs):
            print(seed, file=sys.stderr, flush=True)
            path = Path(folder, f"input{seed}")
            try:
                attempt(state, random.Random(seed), path)
                counts["accepted"] += 1
            except (ValueError, OSError, IndexError, NotImplementedError) as error:
                named = target == "ops" or "input" in str(error) or len(str(error)) > 400
                clear = named and "\n" not in str(error)
                counts["refused" if clear else "unclear"] += 1
                if not clear:
                    finds.append((seed, f"{type(error).__name__}: {error}"[:200]))
            except BaseException as error:
                counts["unclear"] += 1
                finds.append((seed, f"{type(error).__name__}: {error}"[:200]))
    print(json.dumps({"counts": counts, "finds": finds}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=TARGETS, action="append", help="all by default")
    parser.add_argument("--inputs", type=int, default=CHUNK, help="for each target")
    parser.add_argument("--first", type=int, default=0, help="seed of the first input")
    parser.add_argument("--results", action="store_true", help="write results/fuzz.json")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    targets = args.target or list(TARGETS)
    if args.work:
        return work(targets[0], args.first, args.inputs)
    folder = tempfile.TemporaryDirectory()
    if "runtime" in targets:
        os.environ[MODEL] = str(export_model(Path(folder.name)))
    for target in targets:
        counts: collections.Counter[str] = collections.Counter()
        kinds: collections.Counter[str] = collections.Counter()
        for first in range(args.first, args.first + args.inputs, CHUNK):
            size = min(CHUNK, args.first + args.inputs - first)
            words = [sys.executable, __file__, "--work", "--target", target]
            words += ["--first", str(first), "--inputs", str(size)]
            try:
                done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
                seed, code = (done.stderr.split() or ["?"])[-1], done.returncode
            except subprocess.TimeoutExpired as error:
                seed, code = (error.stderr or b"?").split()[-1].decode(), "hang"
            if code == 0:
                found = json.loads(done.stdout.splitlines()[-1])
                counts.update(found["counts"])
                for seed, text in found["finds"]:
                    kind = text.split(":")[0] + text.split(":")[-1]
                    kinds[kind] += 1
                    if kinds[kind] == 1:
                        print(f"  {target}, seed {seed}: {text}")
            else:
                counts["hang" if code == "hang" else "crash"] += 1
                print(f"  {target}, chunk at {first}: exit {code} at seed {seed}")
                print("   ", done.stderr[-300:] if code != "hang" else "")
        print(f"{target}: {dict(counts)}", flush=True)
        if args.results:
            write(target, args.inputs, counts)


def write(target: str, inputs: int, counts: collections.Counter[str]) -> None:
    from shufflenet_det.papers import results

    columns = {"target": "name", "inputs": "metrics.inputs:.0f"}
    kinds = ("accepted", "refused", "unclear", "crash", "hang")
    columns |= {kind: f"metrics.{kind}:.0f" for kind in kinds}
    metrics = {"inputs": inputs} | {kind: counts[kind] for kind in kinds}
    row = {"name": target, "config": "", "options": {}, "seed": 0, "data": {}, "budget": {}}
    results.add(
        "fuzz",
        row | results.provenance() | {"metrics": metrics},
        title="Damaged and hostile inputs",
        columns=columns,
    )


if __name__ == "__main__":
    main()
