"""Running rows of the papers' COCO tables: the checks before, training, testing, the row's result.

Training and testing are the commands ``train`` and ``test`` in processes of their own, under
torchrun for several GPUs. They lock the work folder, resume and write checkpoints.
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
from . import results
from .comparison import STEP, measured
from .published import CocoRow

WORK_DIR = "work_dirs/papers"
DATA_ROOT = "data/coco"
HARDEST_OF = 8  # GPUs of Light-Head R-CNN's training, which takes the hardest RoIs of each GPU
# A demo shows that everything works, for which few images do. Without a file, the metric scores the
# images that it is given, which have to carry their ground truth then.
_KEYS = "meta_keys=(img_id,img_path,ori_shape,img_shape,scale_factor,instances)"
DEMO_OPTIONS = (
    "train_cfg.max_epochs=1",
    "train_cfg.val_interval=1",
    "train_dataloader.dataset.indices=100",
    "val_dataloader.dataset.indices=20",
    "test_dataloader.dataset.indices=20",
    f"val_dataloader.dataset.pipeline.3.{_KEYS}",
    f"test_dataloader.dataset.pipeline.3.{_KEYS}",
    "val_evaluator.ann_file=None",
    "test_evaluator.ann_file=None",
    "model.test_cfg.rpn.max_per_img=50",
)
_FEW_ROIS = "model.train_cfg.rcnn.sampler.num=16"  # stage 4 is computed on each
_TITLE = "ShuffleNet {}, Table 7: {}, trained on train2017, tested on val2017"
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
    gpus: int = 1,
    data_root: str = DATA_ROOT,
    demo: bool = False,
    work_dir: str = WORK_DIR,
    folder: str | os.PathLike[str] = results.FOLDER,
    weights: str | None = None,
    cfg_options: Sequence[str] = (),
) -> Iterator[tuple[CocoRow, str]]:
    """Run rows one after the other.

    A row that has a result is skipped, one that was interrupted is resumed from its last
    checkpoint, and one that fails does not keep the next from running.

    Args:
        rows: What to run.
        gpus: Processes, one a GPU; they share the 16 images of a step.
        data_root: COCO's folder, which has to be the papers' split.
        demo: Run on synthetic data for minutes, instead.
        work_dir: Logs and checkpoints go to a folder of the row in it.
        folder: Of the results.
        weights: A file for the backbone instead of what the config names, for one row.
        cfg_options: ``KEY=VALUE`` for a demo's config; a row's own is fixed.

    Yields:
        The row and what became of it, 'finished …' or what was wrong.
    """
    if gpus < 1 or STEP % gpus:
        legal = [n for n in range(1, STEP + 1) if STEP % n == 0]
        raise ValueError(f"gpus={gpus!r}: must divide the {STEP} images of a step: one of {legal}")
    if weights is not None and (demo or len(rows) != 1):
        raise ValueError(f"weights={weights!r}: are for one row, and not for a demo")
    if cfg_options and not demo:
        raise ValueError(f"cfg_options={list(cfg_options)!r}: only a demo's config can be changed")
    finished = [] if demo else [row for row in rows if measured(row, folder) is not None]
    if not demo and len(finished) < len(rows):
        import torch

        # In a process of its own: the annotations take gigabytes, and this one waits for days.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(check_papers_split, data_root).result()
        if (there := torch.cuda.device_count()) < gpus:
            raise ValueError(
                f"gpus={gpus!r}: must be at most {there}, the GPUs here; --demo runs on the CPU"
            )
    for number, row in enumerate(rows, 1):
        if row in finished:
            yield row, f"finished before, see {Path(folder) / f'papers_{row.paper}.json'}"
            continue
        where = f"[{number}/{len(rows)}] {row.key}"
        home = Path(f"{work_dir}_demo" if demo else work_dir) / row.key
        try:
            if demo:
                options = [*DEMO_OPTIONS, *([_FEW_ROIS] if row.paper == "v1" else []), *cfg_options]
                metrics = _train_and_test(row, home, options, gpus, demo, where)
                outcome = (
                    f"finished, mAP {metrics['mAP']:.1f} on synthetic data. About 0 is expected "
                    "after so few steps from random weights: a demo shows that all parts run, and "
                    "measures nothing"
                )
            else:
                options = [f"data_root={data_root}", f"train_dataloader.batch_size={STEP // gpus}"]
                options += _options_of_weights(row, weights)
                if row.paper == "v2" and gpus != HARDEST_OF:
                    print(
                        f"{where}: the loss takes the hardest RoIs of each GPU's {STEP // gpus} "
                        f"images; the protocol has {STEP // HARDEST_OF} a GPU: use --gpus "
                        f"{HARDEST_OF} to keep to it",
                        flush=True,
                    )
                metrics = _train_and_test(row, home, options, gpus, demo, where)
                results.add(
                    f"papers_{row.paper}",
                    _result(row, home, options, gpus, metrics),
                    title=_TITLE.format(row.paper.upper(), row.detector),
                    columns=_COLUMNS,
                    folder=folder,
                )
                outcome = f"finished, mAP {metrics['mAP']:.1f}, the paper's {row.mAP:.1f}"
        except (OSError, RuntimeError, ValueError) as error:
            outcome = str(error)
        yield row, outcome


def _options_of_weights(row: CocoRow, weights: str | None) -> list[str]:
    """Overrides that let a row start from a file, or raise where its weights are not there."""
    from mmengine.config import Config

    from ..weights import find_record, read_weights

    backbone = Config.fromfile(row.config).model.backbone
    name = weights or backbone.init_cfg.checkpoint
    record = find_record(name)
    fetched = "://" in name if record is None else record.can_be_fetched
    if not fetched and not Path(name).is_file():
        hint = f"see the head of {row.config}"
        if record is not None:
            hint = f"get {record.file} from {record.url} and give --weights FILE"
        raise FileNotFoundError(f"starts from {name!r}, which no program can download: {hint}")
    if not backbone["type"].startswith("shufflenet_det."):
        _require_all_tensors({**backbone, "init_cfg": {**backbone.init_cfg, "checkpoint": name}})
    if weights is None:
        return []
    options = [f"model.backbone.init_cfg.checkpoint={os.path.abspath(weights)}"]
    images = read_weights(weights).images
    if images is not None:
        options += [
            f"model.data_preprocessor.{key}={value}".replace(" ", "")
            for key, value in images.data_preprocessor().items()
        ]
    return options


def _require_all_tensors(backbone: Mapping[str, Any]) -> None:
    """Raise where mmdet's own backbone would keep random tensors, which mmengine does silently."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.runner.checkpoint import CheckpointLoader

    from ..weights.fitting import differences

    name, prefix = backbone["init_cfg"]["checkpoint"], backbone["init_cfg"].get("prefix")
    loaded = CheckpointLoader.load_checkpoint(name, map_location="cpu")
    tensors = loaded.get("state_dict", loaded)
    with torch.device("meta"):
        wanted = MODELS.build({**backbone, "init_cfg": None}).state_dict()
    place = f"{prefix}." if prefix else ""
    problems = differences({key.removeprefix(place): tensors[key] for key in tensors}, wanted)
    if problems:
        raise ValueError(
            f"{name!r} does not hold {backbone['type']}; of its {len(wanted)} tensors: {problems}"
        )


def _train_and_test(
    row: CocoRow, home: Path, options: Sequence[str], gpus: int, demo: bool, where: str
) -> dict[str, float]:
    """Train to the end of the schedule and test the last checkpoint: COCO's metrics in %."""
    config = str(row.config)
    common = ["--work-dir", str(home), *(["--demo"] if demo else []), "--cfg-options", *options]
    what = "25 steps" if demo else "its whole schedule"
    print(f"{where}: training, {what}; logs and checkpoints in {home}", flush=True)
    _call("train", [config, *common, "--resume"], gpus)
    numbered = {p: p.stem.rpartition("_")[2] for p in home.glob("*.pth") if "best" not in p.name}
    steps = {int(number): path for path, number in numbered.items() if number.isdigit()}
    if not steps:
        raise FileNotFoundError(f"no checkpoint in {home}")
    checkpoint = steps[max(steps)]
    print(f"{where}: testing {checkpoint}", flush=True)
    before = set(home.glob("*/*.json"))
    _call("test", [config, str(checkpoint), *common], gpus)
    written = sorted(set(home.glob("*/*.json")) - before)
    found = json.loads(written[-1].read_text()) if written else {}
    return {
        key.partition("bbox_")[2]: round(100 * float(value), 3)
        for key, value in found.items()
        if key.startswith("coco/bbox_") and not key.endswith("copypaste")
    } or {"mAP": 0.0}  # mmdet has none where nothing was detected


def _call(command: str, arguments: Sequence[str], gpus: int) -> None:
    """Run a sub-command in a process of its own, or in one for each GPU."""
    program, launcher = ["-m", "shufflenet_det.cli", command, *arguments], []
    if gpus > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={gpus}"]
        program += ["--launcher", "pytorch"]
    done = subprocess.run([sys.executable, *launcher, *program], check=False)
    if done.returncode:
        raise RuntimeError(f"`{command}` ended with status {done.returncode}, see above")


def _result(
    row: CocoRow, home: Path, options: Sequence[str], gpus: int, metrics: Mapping[str, float]
) -> results.Row:
    from mmengine.config import Config

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
    made = results.provenance()
    return {
        "name": row.key,
        "config": row.config.relative_to(config_folder()).as_posix(),
        "options": dict(option.split("=", 1) for option in options),
        "seed": 0,
        "data": _DATA,
        "budget": budget,
        **made,
        "hardware": f"{gpus} x {made['hardware']}",
        "metrics": dict(metrics),
    }
