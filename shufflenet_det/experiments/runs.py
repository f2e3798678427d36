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
import re
import shlex
import signal
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
from .results import (
    FOLDER,
    Measurement,
    Training,
    add_training,
    read_result,
    read_trainings,
    result_path,
    write_measurement,
)

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


class CannotRunError(RuntimeError):
    """A row cannot be run as asked; one sentence says why."""


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
        weights: A file for the backbone instead of what the config names, of the same network; for
            one row. Images get the mean and std of its training, if it tells.
        cfg_options: ``KEY=VALUE`` for a demo's config: what a row is is not to be changed.

    Yields:
        A row's key and what became of it: 'finished', 'finished before, see FILE', or what was
        wrong.

    Raises:
        FileNotFoundError, ValueError: The data is not the papers' split.
        ValueError: ``gpus`` does not divide 16 or is more than there are, ``weights`` is given for
            several rows, ``cfg_options`` without ``demo``, or a file of figures is damaged.
    """
    if gpus < 1 or STEP % gpus:
        legal = [n for n in range(1, STEP + 1) if STEP % n == 0]
        raise ValueError(f"gpus={gpus!r}: must divide the {STEP} images of a step: one of {legal}")
    if weights is not None and len(rows) != 1:
        raise ValueError(f"weights={weights!r} are of one network, and {len(rows)} rows were asked")
    if cfg_options and not demo:
        raise ValueError(f"cfg_options={list(cfg_options)!r}: only a demo's config can be changed")
    paths = {row: finished_path(row, demo=demo, work_dir=work_dir, results=results) for row in rows}
    finished = [read_result(row, path, demo=demo) for row, path in paths.items() if path.is_file()]
    if len(finished) < len(paths) and not demo:
        check_papers_split(data_root)
        _require_gpus(gpus)
    for row, path in paths.items():
        if path.is_file():  # by now: others may run rows, too
            before = read_result(row, path, demo=demo)
            outcome = f"finished before, see {path}"
            if weights is not None and before.weights != os.path.abspath(weights):
                outcome = (
                    f"was finished from {before.weights!r}, see {path}: for {weights!r} choose "
                    "other --results and --work-dir"
                )
            yield row, outcome
            continue
        arguments = [row, "--work-dir", work_dir, "--results", str(results)]
        arguments += ["--gpus", str(gpus), "--data-root", data_root]
        arguments += ["--demo"] * demo + (["--weights", weights] if weights else [])
        arguments += [f"--command={shlex.join(sys.argv)}"]
        arguments += ["--cfg-options", *cfg_options] if cfg_options else []
        launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={gpus}", "-m"]
        module = [*(launcher if gpus > 1 else []), "shufflenet_det.experiments"]
        home = _home(row, demo=demo, work_dir=work_dir)
        problem = "" if demo else missing_weights(row, weights)
        yield row, problem or _run_in(home, [sys.executable, "-m", *module, *arguments])


def _require_gpus(gpus: int) -> None:
    import torch

    there = torch.cuda.device_count()
    if there < gpus:
        raise ValueError(
            f"gpus={gpus!r}: must be at most {there}, the GPUs here; a demo runs on the CPU"
        )


def _run_in(home: Path, command: Sequence[str]) -> str:
    """Run a row's program, if nobody else runs the row, and tell what became of it."""
    try:
        with _only_one(home):
            pass
    except CannotRunError as error:
        return str(error)
    code = _run_process(command)
    return f"ended with {code}, see {home}" if code else "finished"


def _run_process(command: Sequence[str]) -> int:
    """Run a program to its end; if this one is to end before, so is that, with its workers."""

    def stop(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


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
            :func:`~shufflenet_det.training.load_run_config`.
        OSError, ValueError: ``weights`` cannot be opened.
    """
    from ..training import load_run_config
    from ..weights import open_checkpoint, recognise

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
        cfg.model.backbone.init_cfg.checkpoint = os.path.abspath(weights)
        found = recognise(open_checkpoint(weights))
        if found is not None and found.images is not None:
            cfg.model.data_preprocessor.update(found.images.data_preprocessor())
    return cfg


def require_weights(backbone: Mapping[str, Any]) -> None:
    """Raise where a backbone cannot begin with all of its weights.

    This package's backbones load all or raise; for mmdet's own, mmengine's ``Pretrained`` takes
    what fits and leaves the rest random.

    Args:
        backbone: Its config.

    Raises:
        OSError, ValueError: The file cannot be opened, or is not all that the backbone has.
    """
    import torch
    from mmdet.registry import MODELS

    from ..backbones.base import LevelBackbone
    from ..weights import open_checkpoint

    name = _start(backbone)
    if not name:
        return
    with torch.device("meta"):
        network = MODELS.build({**backbone, "init_cfg": None})
    if isinstance(network, LevelBackbone):
        MODELS.build(backbone).init_weights()
        return
    tensors = open_checkpoint(name).tensors
    place = backbone["init_cfg"].get("prefix")
    place = f"{place}." if place else ""
    wanted = {
        key: tuple(value.shape)
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    there = {key: tuple(tensors[place + key].shape) for key in wanted if place + key in tensors}
    lacking = [key for key in wanted if there.get(key) != wanted[key]]
    if lacking:
        raise ValueError(
            f"{name!r} does not hold {backbone['type']}: of its {len(wanted)} tensors "
            f"{len(lacking)} are missing or of another shape, the first {place}{lacking[0]}"
        )


def _start(backbone: Mapping[str, Any]) -> str:
    """The file of weights that a backbone starts from; empty: random."""
    return (backbone.get("init_cfg") or {}).get("checkpoint", "")


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
        CannotRunError: Another process is running this row, or it was begun from other weights.
    """
    from ..training import test, train

    home = Path(cfg.work_dir)
    test_cfg = copy.deepcopy(cfg)
    weights = _start(cfg.model.backbone)
    with _only_one(home):
        if path.is_file():
            return  # by another process, since this one was started
        latest = _latest_checkpoint(home)
        begun = latest and _dumped_config(row, home)
        if begun and _start(begun.model.backbone) != weights:
            raise CannotRunError(
                f"{home} was begun from {_start(begun.model.backbone)!r} and cannot go on from "
                f"{weights!r}: choose another --work-dir"
            )
        # Resuming a whole training would read through all of its images again.
        if latest is None or latest.name != _last_checkpoint(cfg):
            if _is_first():
                add_training(_training(gpus, command), home / "trainings.json")
            train(cfg, resume=str(latest) if latest else None)
        metrics = test(test_cfg, str(home / _last_checkpoint(cfg)))
        if not _is_first():
            return
        measurement = Measurement(
            row=row,
            demo=demo,
            # mmdet's are none where there was no detection at all.
            metrics={"coco/bbox_mAP": 0.0} | {k: float(v) for k, v in metrics.items()},
            config=config_of(row).relative_to(REPOSITORY).as_posix(),
            weights=weights,
            gpu_hours=gpu_hours(home, iterations(cfg)),
            date=_today(),
            trainings=read_trainings(home / "trainings.json"),
        )
        write_measurement(measurement, path)


def iterations(cfg: Mapping[str, Any]) -> int | None:
    """Iterations of a config's schedule; None if it counts epochs."""
    return cfg["train_cfg"].get("max_iters")


def gpu_hours(home: Path, iterations: int | None) -> float | None:
    """Hours of training that a row takes, by what its logs measured, times GPUs.

    Args:
        home: The row's work folder, with a log of each time that it was begun or gone on with.
        iterations: Of the whole schedule.

    Returns:
        The hours; None if nothing was logged, the schedule counts epochs, or it was not on GPUs.
    """
    from mmengine.config import Config

    gpu_seconds = []
    for path in sorted(home.glob("*/vis_data/scalars.json")):
        cfg = Config.fromfile(path.with_name("config.py"))
        gpus = STEP // cfg.train_dataloader.batch_size
        for line in path.read_text().splitlines():
            try:
                logged = json.loads(line)
            except ValueError:
                continue  # a line that was being written when the run was killed
            if "loss" in logged and "time" in logged and "memory" in logged:  # a GPU's
                gpu_seconds.append(gpus * float(logged["time"]))
    if not gpu_seconds or iterations is None:
        return None
    return statistics.median(gpu_seconds) * iterations / 3600


def expected_gpu_hours(row: str, work_dir: str = WORK_DIR) -> float | None:
    """GPU hours of a row that has been started, by its logs; None: not measured."""
    home = _home(row, demo=False, work_dir=work_dir)
    cfg = _dumped_config(row, home)
    return None if cfg is None else gpu_hours(home, iterations(cfg))


def _dumped_config(row: str, home: Path) -> "Config | None":
    """A row's config as its run has dumped it; None if it was not begun."""
    from mmengine.config import Config

    path = home / config_of(row).name
    return Config.fromfile(path) if path.is_file() else None


def _home(row: str, *, demo: bool, work_dir: str) -> Path:
    return Path(f"{Path(work_dir)}_demo" if demo else work_dir) / row


def _latest_checkpoint(home: Path) -> Path | None:
    """The newest checkpoint of a schedule, wherever the folder was when it was written."""
    numbers = {p: re.fullmatch(r"(?:iter|epoch)_(\d+)", p.stem) for p in home.glob("*.pth")}
    found = [(int(number[1]), path) for path, number in numbers.items() if number]
    return max(found)[1] if found else None


def _last_checkpoint(cfg: Mapping[str, Any]) -> str:
    """The name of a schedule's last."""
    schedule = cfg["train_cfg"]
    if "max_iters" in schedule:
        return f"iter_{schedule['max_iters']}.pth"
    return f"epoch_{schedule['max_epochs']}.pth"


def _is_first() -> bool:
    """Whether this is the first of the processes that run a row together.

    mmengine's ``is_main_process`` says so of all of them until a Runner is built.
    """
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Let no other process run the same row; of several that do it together, the first asks."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = open(home / "lock", "w")
    except OSError as error:
        raise CannotRunError(f"{home} cannot be the row's folder: {error}") from error
    with lock:
        if _is_first():
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CannotRunError(f"another process is running a row in {home}") from error
        yield


def _training(gpus: int, command: str) -> Training:
    return Training(
        gpus=gpus,
        hardware=_hardware(),
        date=_today(),
        commit=_commit(),
        versions=_versions(),
        command=command,
    )


def _today() -> str:
    return datetime.now(timezone.utc).date().isoformat()


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
