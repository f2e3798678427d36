"""A config read and fitted to a run: overrides, the data's folder, ``--demo``."""

import difflib
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..config_files import find_config
from ..data import make_demo_dataset, require_dataset_files
from ..data.classes import fit_classes
from ..host import distributed, environment
from ..weights import fit_data_preprocessor

DEMO_ROOT = "data/demo"
DEMO_EPOCHS = 8
_READ_BESIDE_RUNNER = (
    "compile",
    "find_unused_parameters",
    "model_wrapper_cfg",
    "runner_type",
    "sync_bn",
)


def load_run_config(
    path: str,
    *,
    cfg_options: dict[str, Any] | None = None,
    work_dir: str | None = None,
    launcher: str = "none",
    demo: bool = False,
    splits: tuple[str, ...] = ("train", "val"),
) -> Config:
    """Read a config and fit it to a run.

    Args:
        path: The config's file, or the name of a shipped one: see :func:`find_config`.
        cfg_options: Overrides by dotted key, as mmdet's ``--cfg-options``. A ``data_root`` among
            them moves every path of the config that lies below the config's own.
        work_dir: Where logs and checkpoints go; None is the config's, or
            ``work_dirs/NAME_OF_CONFIG`` (with ``_demo`` behind it for the demo).
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        demo: Run on the made data set, which is drawn on first use, from random weights, on
            small images and for a few epochs.
        splits: Which data loaders ('train', 'val', 'test') have to find their files.

    Returns:
        The config, with which ``Runner.from_cfg`` can be called.

    Raises:
        RuntimeError: mmdet cannot be used here; one sentence says why and what mends it.
        FileNotFoundError: The config or the data set is not there.
        ValueError: The demo is asked for with a config for other data than COCO, or an override
            names a variable that only the config's own text reads, or what cannot be there.
    """
    file = find_config(path)  # first, as what follows imports mmdet
    problem = environment.problem()
    if problem is not None:
        raise RuntimeError(problem)
    cfg = _read(file)
    cfg_options = dict(cfg_options or {})
    data_root = cfg_options.pop("data_root", None)
    _refuse_idle_options(cfg, cfg_options)
    _override(cfg, cfg_options)
    if data_root is not None:
        move_data_root(cfg, data_root)
    fit_classes(cfg)
    cfg.launcher = launcher
    default_name = f"{file.stem}_demo" if demo else file.stem
    cfg.work_dir = work_dir or cfg.get("work_dir") or os.path.join("work_dirs", default_name)
    if demo:
        use_demo_data(cfg)
        _override(cfg, cfg_options)
    fit_data_preprocessor(cfg.get("model") or {})
    for split in splits:
        loader = cfg.get(f"{split}_dataloader")
        if loader:
            require_dataset_files(loader["dataset"])
    distributed.prepare(cfg)
    return cfg


def move_data_root(cfg: Config, root: str) -> None:
    """Let every path of a config that begins with its ``data_root`` begin with another folder.

    Args:
        cfg: The config, changed in place; it states ``data_root`` at its top level.
        root: The other folder.

    Raises:
        ValueError: The config has no ``data_root``.
    """
    old = cfg.get("data_root")
    if not old:
        raise ValueError(
            f"{cfg.filename} states no data_root at its top level: set the paths one by one, "
            "for example train_dataloader.dataset.data_root"
        )
    old, new = old.rstrip("/") + "/", root.rstrip("/") + "/"
    for owner in _dicts(cfg._cfg_dict):
        for key, value in owner.items():
            if isinstance(value, str) and (value + "/").startswith(old):
                owner[key] = new + value[len(old) :]


def use_demo_data(cfg: Config) -> None:
    """Point a COCO config at the made data set and shorten its schedule; the model stays.

    The backbone starts from random weights, so all of it is trained. Images that keep their
    aspect ratio keep the made set's size, 256x192; fixed sizes (SSD) stay. AdamW with a cosine
    schedule stands in for recipes that are written for days.

    Args:
        cfg: A config for COCO's 80 categories, changed in place.

    Raises:
        ValueError: A dataset of the config states classes of its own, or another layout.
    """
    datasets = [d for d in _dicts(cfg._cfg_dict) if "ann_file" in d and "data_prefix" in d]
    if not datasets or any("metainfo" in d or d["type"] != "CocoDataset" for d in datasets):
        raise ValueError(
            f"--demo needs a config for COCO's 80 categories, and {cfg.filename} is for other "
            "data: run it without --demo"
        )
    move_data_root(cfg, str(make_demo_dataset(DEMO_ROOT)))
    # As mmdet's SSDLite is trained from random weights: small weights learn faster under BatchNorm.
    cfg.model.backbone.init_cfg = {"type": "TruncNormal", "layer": "Conv2d", "std": 0.03}
    for name, value in (("norm_eval", False), ("frozen_stages", -1)):
        if name in cfg.model.backbone:
            cfg.model.backbone[name] = value
    (cfg.model.backbone.get("norm_cfg") or {}).pop("requires_grad", None)
    for owner in _dicts(cfg._cfg_dict):
        if owner.get("type") == "Resize" and owner.get("keep_ratio"):
            owner["scale"] = (256, 192)
        if owner.get("type") == "RepeatDataset":
            owner["times"] = 1
        # Proposals and RoIs take most of a CPU's time, and small images need few.
        if "nms_pre" in owner and "max_per_img" in owner:
            owner.update(nms_pre=500, max_per_img=min(owner["max_per_img"], 300))
    if "rcnn" in (cfg.model.get("train_cfg") or {}):
        sampler = cfg.model.train_cfg.rcnn.sampler
        if sampler.pos_fraction < 1:  # if not, it is to pass everything
            sampler.num = 64
    cfg.train_dataloader.merge({"batch_size": 4, "num_workers": 2})
    if not cfg.train_dataloader.get("batch_sampler"):
        cfg.train_dataloader.drop_last = True
    for name in ("val_dataloader", "test_dataloader"):
        cfg[name].merge({"num_workers": 1})
    cfg.train_cfg = {
        "type": "EpochBasedTrainLoop",
        "max_epochs": DEMO_EPOCHS,
        "val_interval": DEMO_EPOCHS // 2,
    }
    cfg.optim_wrapper = {
        "type": cfg.optim_wrapper.type,
        "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.05},
        "clip_grad": {"max_norm": 35},
    }
    cfg.param_scheduler = [
        {"type": "LinearLR", "start_factor": 0.01, "by_epoch": False, "begin": 0, "end": 50},
        {
            "type": "CosineAnnealingLR",
            "T_max": DEMO_EPOCHS,
            "end": DEMO_EPOCHS,
            "by_epoch": True,
            "convert_to_iter_based": True,
        },
    ]
    cfg.auto_scale_lr = {"enable": False, "base_batch_size": 4}
    cfg.default_hooks.logger.interval = 10
    # The schedule counts epochs now, whatever the config's own did.
    cfg.default_hooks.checkpoint.merge({"by_epoch": True, "interval": 1})
    if "log_processor" in cfg:
        cfg.log_processor.by_epoch = True
    cfg.randomness = {"seed": 0}


def _read(file: Path) -> Config:
    try:
        return Config.fromfile(file)
    except OSError:
        raise
    except Exception as error:  # whatever the file's own Python raises
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"config {str(file)!r} cannot be read: {said}") from error


def _refuse_idle_options(cfg: Config, options: dict[str, Any]) -> None:
    """Raise where an override would change nothing: a name that nobody reads, or reads any more."""
    read = {*inspect.signature(Runner.__init__).parameters, *_READ_BESIDE_RUNNER} - {"self", "cfg"}
    for option in options:
        name = option.split(".")[0]
        if name in read:
            continue
        if name in cfg:
            places = [path for path in _paths(cfg._cfg_dict) if path.endswith(f".{name}")]
            raise ValueError(
                f"--cfg-options {option}=…: the text of {cfg.filename} has used {name!r} by now, "
                "so this would change nothing. Edit the file, or override the keys themselves"
                + (f": {', '.join(places)}" if places else "")
            )
        near = difflib.get_close_matches(name, {*read, "data_root"}, n=1)
        raise ValueError(
            f"--cfg-options {option}=…: no run reads {name!r}"
            + (f"; did you mean {near[0]!r}?" if near else f"; names: {', '.join(sorted(read))}")
        )


def _override(cfg: Config, options: dict[str, Any]) -> None:
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError) as error:
        raise ValueError(f"--cfg-options do not fit {cfg.filename}: {error.args[0]}") from error


def _paths(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted key of every entry of a tree of dicts and lists."""
    if isinstance(node, dict | list | tuple):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield f"{prefix}{key}"
            yield from _paths(child, f"{prefix}{key}.")


def _dicts(node: Any) -> Iterator[dict[str, Any]]:
    """Every dict of a tree of dicts, lists and tuples, the node itself first."""
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node
    for child in children if isinstance(node, dict | list | tuple) else ():
        yield from _dicts(child)
