"""Checks and adjustments of a config before a run."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..backbones.base import map_channels


def remove_worker_options(cfg: Config) -> None:
    """Remove options that need worker processes from loaders without workers."""
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        if loader and not loader.get("num_workers", 0):
            loader.persistent_workers = False
            loader.pop("prefetch_factor", None)


def rescale_schedule(cfg: Config, before: tuple[int, int]) -> None:
    """Adapt the learning-rate schedule if an override has changed the length of the training.

    Args:
        cfg: The config with its overrides; changed in place.
        before: The :func:`length` before the overrides.
    """
    for old, new, by_epoch in zip(before, length(cfg), (True, False), strict=True):
        if not old or not new or old == new:
            continue
        for scheduler in schedulers(cfg, by_epoch):
            if old in (scheduler.get("end"), scheduler.get("T_max")):  # not a warm-up
                for key in ("end", "T_max"):
                    if scheduler.get(key) == old:
                        scheduler[key] = new
                if "milestones" in scheduler:
                    moved = {round(milestone * new / old) for milestone in scheduler["milestones"]}
                    scheduler["milestones"] = sorted(m for m in moved if 0 < m < new)


def schedule_problems(cfg: Config, iterations: int) -> list[str]:
    """Find problems of the learning-rate schedule, one sentence each.

    Args:
        cfg: The config of the run.
        iterations: The length of the run.
    """
    problems = []
    for scheduler in schedulers(cfg, by_epoch=False):
        end = scheduler.get("end", 0)
        if scheduler["type"] == "LinearLR" and end > iterations / 2:
            problems.append(
                f"the warm-up takes {end:,} of {iterations:,} steps: shorten it "
                "(param_scheduler.0.end) or train longer"
            )
    epochs, _ = length(cfg)
    ends = [scheduler.get("end", 0) for scheduler in schedulers(cfg, by_epoch=True)]
    if ends and 1 < max(ends) < epochs:
        problems.append(
            f"param_scheduler ends at epoch {max(ends)}, but the training ends at epoch {epochs}: "
            "the learning rate is constant in between"
        )
    return problems


def schedulers(cfg: Config, by_epoch: bool) -> list[dict[str, Any]]:
    """The learning-rate schedules that count epochs, or those that count iterations."""
    found = cfg.get("param_scheduler") or []
    found = [found] if isinstance(found, dict) else found
    return [s for s in found if s.get("by_epoch", True) == by_epoch]


def length(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """The number of epochs and iterations of a training; 0 if the config does not state it."""
    loop = cfg.get("train_cfg") or {}
    return int(loop.get("max_epochs") or 0), int(loop.get("max_iters") or 0)


def require_used_names(file: Path, read: set[str], values: Mapping[str, Any]) -> None:
    """Check that a config sets no variable that only its base reads.

    The base has already used the variable, so a new value would change nothing.

    Args:
        file: The config.
        read: The names that a run reads.
        values: The whole config.

    Raises:
        ValueError: Names the variable.
    """
    assigned, used, bases = _names(file)
    if not bases:
        return
    inherited = {name: value for base in bases for name, value in _assigned_below(base).items()}
    for name, value in assigned.items():
        if name in read or name in used or name not in inherited or inherited[name] == value:
            continue
        raise ValueError(
            f"config {str(file)!r} sets {name!r}, which {Path(bases[0]).name} has already used, so "
            f"this would change nothing: set the keys themselves{keys_named(values, name)}"
        )


def keys_named(values: Mapping[str, Any], name: str) -> str:
    """The dotted keys that end in a name, as part of a sentence; empty if there are none."""
    keys = [path for path in _paths(values) if path.endswith(f".{name}")]
    return f", such as {', '.join(keys)}" if keys else ""


def _paths(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted key of every entry in nested dicts and lists."""
    if isinstance(node, dict | list | tuple):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield f"{prefix}{key}"
            yield from _paths(child, f"{prefix}{key}.")


def _names(file: Path) -> tuple[dict[str, str], set[str], list[Path]]:
    """The variables that a config file assigns, those that it uses, and its bases."""
    tree = ast.parse(file.read_text())
    assigned, bases = {}, []
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            if name == "_base_":
                value = ast.literal_eval(statement.value)
                bases = [value] if isinstance(value, str) else list(value)
            else:
                assigned[name] = ast.unparse(statement.value)
    nodes = list(ast.walk(tree))
    used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    # `_base_.data_root`, and mmengine's `{{_base_.data_root}}`, which Python parses as nested sets.
    used |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    return assigned, used, [file.parent / base for base in bases if "::" not in base]


def bases_of(file: Path) -> list[Path]:
    """The base files of a config."""
    return _names(file)[2]


def _assigned_below(file: Path) -> dict[str, str]:
    assigned, _, bases = _names(file)
    below = {name: value for base in bases for name, value in _assigned_below(base).items()}
    return below | assigned


def unwrapped_model(runner: Runner) -> Any:
    """The model of a runner, without the wrapper of a distributed run."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def require_channels(model: Any, cfg: Mapping[str, Any]) -> None:
    """Check that the neck expects the channels that the backbone outputs.

    Args:
        model: The detector, without the wrapper of a distributed run.
        cfg: The ``model`` dict of its config.

    Raises:
        ValueError: The channels differ; the message names both.
    """
    neck = cfg.get("neck") or {}
    neck = neck[0] if isinstance(neck, list) else neck
    expected = neck.get("in_channels")
    if not isinstance(expected, list | tuple) or not hasattr(model, "backbone"):
        return
    try:
        given = map_channels(model.backbone)
    except Exception:  # a foreign backbone: let the run itself fail
        return
    if list(expected) != given:
        raise ValueError(
            f"model.neck.in_channels={list(expected)}, but the backbone "
            f"{type(model.backbone).__name__} outputs {given} channels"
        )
