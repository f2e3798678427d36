"""Train and test rows of the papers' COCO tables, and save their results.

Training and testing are the commands ``train`` and ``test`` in subprocesses, under torchrun for
several GPUs. These commands lock the work folder, resume and write checkpoints.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ..config_files import config_folder
from ..data import check_papers_split
from ..host.saving import find_latest_checkpoint
from . import results
from .comparison import STEP, measured
from .published import CocoRow

HARDEST_OF = 8  # GPUs of Light-Head R-CNN's training; its loss takes the hardest RoIs of each GPU
# A demo shows that every step runs, for which a few images are enough.
DEMO_OPTIONS = (
    "train_cfg.max_epochs=1",
    "train_cfg.val_interval=1",
    "train_dataloader.dataset.indices=100",
    "val_dataloader.dataset.indices=20",
    "test_dataloader.dataset.indices=20",
    "model.test_cfg.rpn.max_per_img=50",
)
_COLUMNS = {
    "row": "name",
    "mAP": "metrics.mAP:.1f",
    "mAP50": "metrics.mAP_50:.1f",
    "GPU hours": "budget.gpu_hours:.1f",
    "date": "date",
    "hardware": "hardware",
}
_DATA = {
    "name": "COCO 2017",
    "train": "train2017",
    "train_images": 118_287,
    "test": "val2017",
    "test_images": 5_000,
}


def run_rows(
    rows: Sequence[CocoRow],
    *,
    gpus: int,
    data_root: str,
    demo: bool,
    work_dir: str,
    folder: str | os.PathLike[str],
    weights: str | None,
    cfg_options: Sequence[str],
) -> Iterator[tuple[CocoRow, str]]:
    """Run rows one after the other.

    A row with a result is skipped, an interrupted row is resumed from its last checkpoint, and the
    next row runs even if one fails.

    Args:
        rows: The rows to run.
        gpus: Number of GPUs, with one process each; they share the 16 images of a step.
        data_root: Folder of COCO, which must be the papers' split.
        demo: Run for minutes on synthetic data instead.
        work_dir: Folder for logs and checkpoints; each row has a subfolder.
        folder: Folder of the results.
        weights: Checkpoint for the backbone instead of the one in the config, for a single row.
        cfg_options: ``KEY=VALUE`` overrides for a demo; the config of a real run is fixed.

    Yields:
        The row and its outcome: 'finished …' or an error message.

    Raises:
        OSError, ValueError: The arguments do not fit together, or the data or GPUs are missing.
    """
    if gpus < 1 or STEP % gpus:
        legal = [n for n in range(1, STEP + 1) if STEP % n == 0]
        raise ValueError(f"gpus={gpus!r}: must divide the {STEP} images of a step: one of {legal}")
    if weights is not None and (demo or len(rows) != 1):
        raise ValueError(f"weights={weights!r}: can be used for one row only, and not with a demo")
    if cfg_options and not demo:
        raise ValueError(f"cfg_options={list(cfg_options)!r}: only a demo's config can be changed")
    finished = [] if demo else [row for row in rows if measured(row, folder) is not None]
    if not demo and len(finished) < len(rows):
        _require_data_and_gpus(data_root, gpus)
    for number, row in enumerate(rows, 1):
        if row in finished:
            yield row, f"finished before, see {Path(folder) / f'papers_{row.paper}.json'}"
            continue
        print(f"[{number}/{len(rows)}] {row.key}", flush=True)
        try:
            if demo:
                home = Path(f"{work_dir}_demo", row.key)
                metrics = _train_and_test(row, home, [*DEMO_OPTIONS, *cfg_options], gpus, "--demo")
                outcome = (
                    f"finished, mAP {metrics['mAP']:.1f} on synthetic data. About 0 is expected "
                    "after so few steps from random weights: a demo only shows that each step runs"
                )
            else:
                metrics = _run(row, Path(work_dir, row.key), gpus, data_root, folder, weights)
                outcome = f"finished, mAP {metrics['mAP']:.1f}, the paper's {row.mAP:.1f}"
        except (OSError, RuntimeError, ValueError) as error:
            outcome = str(error)
        yield row, outcome


def _require_data_and_gpus(data_root: str, gpus: int) -> None:
    import torch

    # In a subprocess, because the annotations take gigabytes and this process waits for days.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(check_papers_split, data_root).result()
    if (present := torch.cuda.device_count()) < gpus:
        raise ValueError(
            f"gpus={gpus!r}: must be at most {present}, the GPUs here; --demo runs on the CPU"
        )


def _run(
    row: CocoRow,
    home: Path,
    gpus: int,
    data_root: str,
    folder: str | os.PathLike[str],
    weights: str | None,
) -> dict[str, float]:
    """Train and test one row on COCO, and save its result."""
    from mmengine.config import Config

    options = [f"data_root={data_root}", f"train_dataloader.batch_size={STEP // gpus}"]
    options += _options_of_weights(row, weights)
    if row.paper == "v2" and gpus != HARDEST_OF:
        print(
            f"the loss takes the hardest RoIs of each GPU's {STEP // gpus} images; the protocol "
            f"has {STEP // HARDEST_OF} images per GPU: use --gpus {HARDEST_OF} to follow it",
            flush=True,
        )
    metrics = _train_and_test(row, home, options, gpus)
    steps = Config.fromfile(row.config).train_cfg.max_iters
    budget = {"steps": steps, "images_seen": steps * STEP, "batch_size": STEP}
    seconds = [
        logged["time"]
        for path in home.glob("*/vis_data/scalars.json")
        for line in path.read_text().splitlines()
        if "loss" in (logged := json.loads(line)) and "time" in logged
    ]
    if seconds:
        budget["gpu_hours"] = round(gpus * steps * statistics.median(seconds) / 3600, 2)
    provenance = results.provenance()
    result = {
        "name": row.key,
        "config": row.config.relative_to(config_folder()).as_posix(),
        "options": dict(option.split("=", 1) for option in options),
        "seed": 0,
        "data": _DATA,
        "budget": budget,
        **provenance,
        "hardware": f"{gpus} x {provenance['hardware']}",
        "metrics": metrics,
    }
    title = f"ShuffleNet {row.paper.upper()}, Table 7: {row.detector}, trained on train2017, "
    title += "tested on val2017"
    results.add(f"papers_{row.paper}", result, title=title, columns=_COLUMNS, folder=folder)
    return metrics


def _options_of_weights(row: CocoRow, weights: str | None) -> list[str]:
    """Check that the initial weights exist, and return the overrides for a given checkpoint."""
    from mmengine.config import Config

    from ..weights import find_record, read_weights

    backbone = Config.fromfile(row.config).model.backbone
    name = weights or backbone.init_cfg.checkpoint
    record = find_record(name)
    downloadable = "://" in name if record is None else record.can_be_fetched
    if not downloadable and not Path(name).is_file():
        hint = f"see the head of {row.config}"
        if record is not None:
            hint = f"get {record.file} from {record.url} and give --weights FILE"
        raise FileNotFoundError(f"starts from {name!r}, which no program can download: {hint}")
    ours = backbone["type"].startswith("shufflenet_det.")
    if not ours:
        _require_all_tensors({**backbone, "init_cfg": {**backbone.init_cfg, "checkpoint": name}})
    if weights is None:
        return []
    options = [f"model.backbone.init_cfg.checkpoint={os.path.abspath(weights)}"]
    if ours and (images := read_weights(weights).images) is not None:
        for key, value in images.data_preprocessor().items():
            options.append(f"model.data_preprocessor.{key}={value}".replace(" ", ""))
    return options


def _require_all_tensors(backbone: Mapping[str, Any]) -> None:
    """Check the checkpoint of mmdet's own backbone; mmengine silently skips missing tensors."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.runner.checkpoint import CheckpointLoader

    from ..weights.fitting import differences

    name, prefix = backbone["init_cfg"]["checkpoint"], backbone["init_cfg"].get("prefix")
    loaded = CheckpointLoader.load_checkpoint(name, map_location="cpu")
    tensors = loaded.get("state_dict", loaded)
    with torch.device("meta"):
        wanted = MODELS.build({**backbone, "init_cfg": None}).state_dict()
    start = f"{prefix}." if prefix else ""
    problems = differences({key.removeprefix(start): tensors[key] for key in tensors}, wanted)
    if problems:
        raise ValueError(
            f"{name!r} does not hold {backbone['type']}; of its {len(wanted)} tensors: {problems}"
        )


def _train_and_test(
    row: CocoRow, home: Path, options: Sequence[str], gpus: int, *flags: str
) -> dict[str, float]:
    """Train to the end of the schedule and test the last checkpoint: COCO's metrics in %."""
    arguments = ["--work-dir", str(home), *flags, "--cfg-options", *options]
    print(f"training; logs and checkpoints in {home}", flush=True)
    _call("train", [str(row.config), *arguments, "--resume"], gpus)
    checkpoint = find_latest_checkpoint(str(home))
    if checkpoint is None:
        raise FileNotFoundError(f"no checkpoint in {home}")
    print(f"testing {checkpoint}", flush=True)
    before = set(home.glob("*/*.json"))
    _call("test", [str(row.config), checkpoint, *arguments], gpus)
    written = sorted(set(home.glob("*/*.json")) - before)
    found = json.loads(written[-1].read_text()) if written else {}
    return {
        key.partition("bbox_")[2]: round(100 * float(value), 3)
        for key, value in found.items()
        if key.startswith("coco/bbox_") and not key.endswith("copypaste")
    } or {"mAP": 0.0}  # mmdet writes none if nothing was detected


def _call(command: str, arguments: Sequence[str], gpus: int) -> None:
    """Run a sub-command in a subprocess, or in one for each GPU."""
    program, launcher = ["-m", "shufflenet_det.cli", command, *arguments], []
    if gpus > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={gpus}"]
        program += ["--launcher", "pytorch"]
    done = subprocess.run([sys.executable, *launcher, *program], check=False)
    if done.returncode:
        raise RuntimeError(f"`{command}` ended with status {done.returncode}, see above")
