"""Running the rows of the papers' COCO tables: what ``tools/reproduce.py`` calls.

A row is run in processes of its own, so that the next one starts afresh whatever became of it:
``python -m shufflenet_det.experiments``, under torchrun for several GPUs, calls
:func:`load_row` and :func:`run_row`.
"""

import copy
import fcntl
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import check_papers_split
from .published import V1_TABLE_7, V2_TABLE_7, Result
from .results import FOLDER, Measurement, result_path, write_measurement

if TYPE_CHECKING:
    from mmengine.config import Config

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS: dict[str, Result] = {result.key: result for result in (*V1_TABLE_7, *V2_TABLE_7)}
WORK_DIR = "work_dirs/reproduce"
DATA_ROOT = "data/coco"
STEP = 16  # images in all processes together: what the configs' schedules are written for
# A demo shows that everything works, for which few images do.
_SHORT: dict[str, Any] = {
    "train_cfg.max_epochs": 1,
    "train_cfg.val_interval": 1,
    "train_dataloader.dataset.indices": 100,
    "val_dataloader.dataset.indices": 20,
    "test_dataloader.dataset.indices": 20,
    "model.test_cfg.rpn.max_per_img": 50,
}
_FEW_ROIS = {"model.train_cfg.rcnn.sampler.num": 16}  # a whole stage is computed on each
_PACKAGES = ("torch", "torchvision", "mmengine", "mmdet", "mmcv", "mmcv-lite", "numpy")


def config_of(row: str) -> Path:
    """The config of a row, ``configs/paper_`` and its key."""
    return REPOSITORY / "configs" / f"paper_{row}.py"


def find_rows(names: Iterable[str]) -> list[str]:
    """The keys of rows, each once, in the order of the tables.

    Args:
        names: Keys, or 'all'.

    Raises:
        ValueError: A name is no row's; those nearest to it are named.
    """
    wanted = set[str]()
    for name in names:
        if name != "all" and name not in ROWS:
            near = get_close_matches(name, ROWS, n=3, cutoff=0.5)
            legal = f"did you mean {' or '.join(near)}?" if near else f"rows are {', '.join(ROWS)}"
            raise ValueError(f"no row is called {name!r}: {legal}")
        wanted |= set(ROWS) if name == "all" else {name}
    return [row for row in ROWS if row in wanted]


def finished_path(row: str, *, demo: bool, work_dir: str, results: str | os.PathLike[str]) -> Path:
    """Where the JSON of a row's run is: a demo's stays in its work folder."""
    if demo:
        return _home(row, demo=True, work_dir=work_dir) / "result.json"
    return result_path(row, results)


def run_rows(
    rows: Sequence[str],
    *,
    gpus: int = 1,
    data_root: str = DATA_ROOT,
    demo: bool = False,
    work_dir: str = WORK_DIR,
    results: str | os.PathLike[str] = FOLDER,
    weights: str | None = None,
    cfg_options: Sequence[str] = (),
) -> Iterator[tuple[str, str]]:
    """Run rows one after the other, each until it is finished.

    A row that is finished is skipped, one that was interrupted goes on from its last checkpoint
    (mmengine first reads through the images that it has seen), and one that fails does not keep the
    next from running.

    Args:
        rows: Their keys.
        gpus: Processes, one a GPU; they share the 16 images of a step.
        data_root: COCO's folder, which has to be the papers' split.
        demo: Run on the made data for minutes, instead.
        work_dir: Logs and checkpoints go to a folder of the row in it.
        results: Folder of the figures.
        weights: A file for the backbone instead of what the config names, of the same network and
            pixels; for one row.
        cfg_options: ``KEY=VALUE`` for a demo's config: what a row is is not to be changed.

    Yields:
        A row's key and what became of it: 'finished', 'finished before', or what was wrong.

    Raises:
        FileNotFoundError, ValueError: The data is not the papers' split.
        ValueError: ``gpus`` does not divide 16, ``weights`` is given for several rows, or
            ``cfg_options`` without ``demo``.
    """
    if gpus < 1 or STEP % gpus:
        legal = [n for n in range(1, STEP + 1) if STEP % n == 0]
        raise ValueError(f"gpus={gpus!r}: must divide the {STEP} images of a step: one of {legal}")
    if weights is not None and len(rows) != 1:
        raise ValueError(f"weights={weights!r} are of one network, and {len(rows)} rows were asked")
    if cfg_options and not demo:
        raise ValueError(f"cfg_options={list(cfg_options)!r}: only a demo's config can be changed")
    to_run = []
    for row in rows:
        if finished_path(row, demo=demo, work_dir=work_dir, results=results).is_file():
            yield row, "finished before"
        else:
            to_run.append(row)
    if to_run and not demo:
        check_papers_split(data_root)
    for row in to_run:
        arguments = [row, "--work-dir", work_dir, "--results", str(results)]
        arguments += ["--gpus", str(gpus), "--data-root", data_root]
        arguments += ["--demo"] * demo + (["--weights", weights] if weights else [])
        arguments += ["--command", shlex.join(sys.argv)]
        arguments += ["--cfg-options", *cfg_options] if cfg_options else []
        launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={gpus}", "-m"]
        module = [*(launcher if gpus > 1 else []), "shufflenet_det.experiments"]
        problem = "" if demo else missing_weights(row, weights)
        if not problem:
            done = subprocess.run([sys.executable, "-m", *module, *arguments], check=False)
            home = _home(row, demo=demo, work_dir=work_dir)
            problem = f"ended with {done.returncode}, see {home}" if done.returncode else ""
        yield row, problem or "finished"


def missing_weights(row: str, weights: str | None = None) -> str:
    """Why the weights that a row starts from cannot be had; empty if nothing is known against it.

    Args:
        row: Its key.
        weights: A file instead of what the config names.
    """
    from mmengine.config import Config

    from ..weights import find_record

    if weights is not None:
        return "" if Path(weights).is_file() else f"starts from {weights!r}, which is not there"
    name = Config.fromfile(config_of(row)).model.backbone.init_cfg.checkpoint
    record = find_record(name)
    if Path(name).is_file():
        return ""
    if record is not None and not record.can_be_fetched and "://" not in name:
        return (
            f"starts from {name!r}, which no program can fetch: get {record.file} from "
            f"{record.url} and give --weights FILE"
        )
    if record is None and "://" not in name:
        path = config_of(row).relative_to(REPOSITORY)
        return f"starts from {name!r}, which is not there: see the head of {path}"
    return ""


def load_row(
    row: str,
    *,
    gpus: int,
    data_root: str,
    demo: bool,
    work_dir: str,
    weights: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> "Config":
    """Read a row's config and fit it to a run.

    Args:
        row: Its key.
        gpus: Processes that share a step's images.
        data_root: COCO's folder.
        demo: Run on the made data instead, for minutes.
        work_dir: As for :func:`run_rows`, and so is ``weights``.
        weights: A file instead of what the config names.
        cfg_options: Overrides by dotted key.

    Raises:
        RuntimeError, FileNotFoundError, ValueError: As
            :func:`~shufflenet_det.runs.load_run_config`.
    """
    from ..runs import load_run_config

    if demo:
        options = _SHORT | (_FEW_ROIS if ROWS[row].detector == "Faster R-CNN" else {})
    else:
        options = {"data_root": data_root, "train_dataloader.batch_size": STEP // gpus}
    cfg = load_run_config(
        str(config_of(row)),
        cfg_options=options | dict(cfg_options or {}),
        work_dir=str(_home(row, demo=demo, work_dir=work_dir)),
        launcher="pytorch" if gpus > 1 else "none",
        demo=demo,
        splits=("train", "val", "test"),
    )
    if weights is not None and not demo:
        cfg.model.backbone.init_cfg.checkpoint = weights
    return cfg


def run_row(
    row: str, cfg: "Config", path: Path, *, demo: bool, gpus: int, command: str = ""
) -> None:
    """Train and test a row in this process, or in this one of several, and write its JSON.

    Args:
        row: Its key.
        cfg: From :func:`load_row`.
        path: Of the JSON.
        demo: Whether it is a demo.
        gpus: Processes that run this.
        command: What was typed, for the record.

    Raises:
        RuntimeError: Another process is running this row.
    """
    from mmengine.dist import is_main_process
    from mmengine.runner import find_latest_checkpoint

    from ..runs import test, train

    home = Path(cfg.work_dir)
    test_cfg = copy.deepcopy(cfg)
    with _only_one(home):
        # Resuming a whole training would read through all of its images again.
        if find_latest_checkpoint(str(home)) != str(home / _last_checkpoint(cfg)):
            train(cfg, resume="auto")
        metrics = test(test_cfg, str(home / _last_checkpoint(cfg)))
        if not is_main_process():
            return
        measurement = Measurement(
            row=row,
            demo=demo,
            # mmdet's are none where there was no detection at all.
            metrics={"coco/bbox_mAP": 0.0} | {k: float(v) for k, v in metrics.items()},
            config=config_of(row).relative_to(REPOSITORY).as_posix(),
            weights=(test_cfg.model.backbone.init_cfg or {}).get("checkpoint", ""),
            gpus=gpus,
            gpu_hours=gpu_hours(home, gpus, iterations(cfg)),
            hardware=_hardware(),
            date=datetime.now(timezone.utc).date().isoformat(),
            commit=_commit(),
            versions=_versions(),
            command=command,
        )
        write_measurement(measurement, path)


def iterations(cfg: Mapping[str, Any]) -> int | None:
    """Iterations of a config's schedule; None if it counts epochs."""
    return cfg["train_cfg"].get("max_iters")


def gpu_hours(home: Path, gpus: int, iterations: int | None) -> float | None:
    """Hours of training that a row takes, by what its logs measured, times GPUs.

    Args:
        home: The row's work folder.
        gpus: Processes that the logs are of.
        iterations: Of the whole schedule.

    Returns:
        The hours; None if nothing was logged, the schedule counts epochs, or it was not on GPUs.
    """
    seconds, on_gpu = [], False
    for path in sorted(home.glob("*/vis_data/scalars.json")):
        for line in path.read_text().splitlines():
            try:
                logged = json.loads(line)
            except ValueError:
                continue  # a line that was being written when the run was killed
            if "loss" in logged and "time" in logged:
                seconds.append(float(logged["time"]))
                on_gpu = on_gpu or "memory" in logged
    if not seconds or not on_gpu or iterations is None:
        return None
    return statistics.median(seconds) * iterations * gpus / 3600


def expected_gpu_hours(row: str, work_dir: str = WORK_DIR) -> float | None:
    """GPU hours of a row that has been started, by its logs; None: not measured."""
    from mmengine.config import Config

    home = _home(row, demo=False, work_dir=work_dir)
    started = home / config_of(row).name
    if not started.is_file():
        return None
    cfg = Config.fromfile(started)  # as the run has dumped it
    return gpu_hours(home, STEP // cfg.train_dataloader.batch_size, iterations(cfg))


def _home(row: str, *, demo: bool, work_dir: str) -> Path:
    return Path(f"{work_dir}_demo" if demo else work_dir) / row


def _last_checkpoint(cfg: Mapping[str, Any]) -> str:
    schedule = cfg["train_cfg"]
    if "max_iters" in schedule:
        return f"iter_{schedule['max_iters']}.pth"
    return f"epoch_{schedule['max_epochs']}.pth"


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Let no other process run the same row; of several that do it together, the first asks."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as lock:
        if os.environ.get("RANK", "0") == "0":
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RuntimeError(f"another process is running a row in {home}") from error
        yield


def _hardware() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU ({platform.machine()}, {os.cpu_count()} cores)"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    from ..version import __version__

    found = {"shufflenet_det": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
