"""Load a config for a run: overrides, data folder, ``--demo``."""

import difflib
import inspect
import os
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..config_files import find_config
from ..data import require_dataset_files
from ..data.classes import fit_classes
from ..host import distributed, environment
from ..weights import fit_data_preprocessor
from .demo import replace_data_root, use_demo_data
from .fitting import keys_named, length, remove_worker_options, require_used_names, rescale_schedule

_USED_OUTSIDE_RUNNER = (
    "compile",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "runner_type",
    "sync_bn",
)
_USED_IN_FILES = ("custom_imports", "tta_model", "tta_pipeline")


def load_run_config(
    path: str | os.PathLike[str],
    *,
    cfg_options: dict[str, Any] | None = None,
    work_dir: str | None = None,
    launcher: str = "none",
    demo: bool = False,
    splits: tuple[str, ...] = ("train", "val"),
) -> Config:
    """Load a config and prepare it for a run.

    Args:
        path: A config file, or the name of a shipped config: see
            :func:`~shufflenet_det.config_files.find_config`.
        cfg_options: Overrides by dotted key, as in mmdet's ``--cfg-options``. ``data_root``
            replaces the config's own at the start of every path.
        work_dir: Folder for logs and checkpoints. None: the config's ``work_dir``, or
            ``work_dirs/NAME_OF_CONFIG`` (``work_dirs/NAME_OF_CONFIG_demo`` for the demo).
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        demo: Train for a few epochs from random weights on a small synthetic data set, which is
            generated on first use.
        splits: The data loaders ('train', 'val', 'test') whose files must exist.

    Returns:
        The config for :func:`~shufflenet_det.training.train` or
        :func:`~shufflenet_det.training.test`.

    Raises:
        RuntimeError: mmdet does not work in this environment; the message says how to fix it.
        FileNotFoundError: The config or the data set does not exist.
        ValueError: The demo needs a COCO config; an override does not fit; an override, or a config
            that inherits from another, sets a name that no run reads.
    """
    file = find_config(path)  # first, because the next lines import mmdet
    problem = environment.problem()
    if problem is not None:
        raise RuntimeError(problem)
    cfg = _read(file)
    require_used_names(file, {*_used_names(), *_USED_IN_FILES}, cfg._cfg_dict)
    planned = length(cfg)
    cfg_options = dict(cfg_options or {})
    data_root = cfg_options.pop("data_root", None)
    _refuse_unused_options(cfg, cfg_options)
    _override(cfg, cfg_options)
    if data_root is not None:
        replace_data_root(cfg, data_root)
    fit_classes(cfg)
    cfg.launcher = launcher
    default_name = f"{file.stem}_demo" if demo else file.stem
    cfg.work_dir = work_dir or cfg.get("work_dir") or os.path.join("work_dirs", default_name)
    if demo:
        use_demo_data(cfg)
        planned = length(cfg)
        _override(cfg, cfg_options)
    if not any(option.startswith("param_scheduler") for option in cfg_options):
        rescale_schedule(cfg, planned)
    remove_worker_options(cfg)
    fit_data_preprocessor(cfg.get("model") or {})
    for split in splits:
        loader = cfg.get(f"{split}_dataloader")
        if loader:
            require_dataset_files(loader["dataset"])
    distributed.prepare(cfg)
    return cfg


def _read(file: Path) -> Config:
    try:
        return Config.fromfile(file)
    except OSError:
        raise
    except Exception as error:  # whatever the file's own Python raises
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"cannot read config {str(file)!r}: {said}") from error


def _used_names() -> set[str]:
    """The top-level names of a config that a run reads."""
    return {*inspect.signature(Runner.__init__).parameters, *_USED_OUTSIDE_RUNNER} - {"self", "cfg"}


def _refuse_unused_options(cfg: Config, options: dict[str, Any]) -> None:
    """Raise if an override would change nothing, because no run reads its name."""
    read = _used_names()
    for option in options:
        name = option.split(".")[0]
        if name in read:
            continue
        if name in cfg:
            keys = keys_named(cfg._cfg_dict, name)
            raise ValueError(
                f"--cfg-options {option}=…: {cfg.filename} has already used {name!r}, so this "
                f"would change nothing. Edit the file or override the keys themselves{keys}"
            )
        near = difflib.get_close_matches(name, {*read, "data_root"}, n=1)
        raise ValueError(
            f"--cfg-options {option}=…: no run reads {name!r}"
            + (f"; did you mean {near[0]!r}?" if near else f"; allowed: {', '.join(sorted(read))}")
        )


def _override(cfg: Config, options: dict[str, Any]) -> None:
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError) as error:
        raise ValueError(f"--cfg-options do not fit {cfg.filename}: {error.args[0]}") from error
