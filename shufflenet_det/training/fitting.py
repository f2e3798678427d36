"""What is set right, or refused, in a config before a run begins."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope


def without_idle_workers(cfg: Config) -> None:
    """Drop what only data-loading processes can do where there are none."""
    for split in ("train", "val", "test"):
        loader = cfg.get(f"{split}_dataloader")
        if loader and not loader.get("num_workers", 0):
            loader.persistent_workers = False
            loader.pop("prefetch_factor", None)


def move_schedule(cfg: Config, before: tuple[int, int]) -> list[str]:
    """Let the schedule of the learning rate end where an override has moved the training's end.

    Args:
        cfg: The config with its overrides, changed in place.
        before: Its length in epochs and in iterations before the overrides; 0 if it has none.

    Returns:
        What was done, and which schedules end elsewhere than the training, a sentence each.
    """
    said = []
    schedulers = cfg.get("param_scheduler") or []
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    for old, new, by_epoch, unit in zip(
        before, length(cfg), (True, False), ("epoch", "iteration"), strict=True
    ):
        ours = [s for s in schedulers if s.get("by_epoch", True) == by_epoch]
        if old and new and old != new:
            for scheduler in ours:
                if old not in (scheduler.get("end"), scheduler.get("T_max")):
                    continue  # a warm-up
                for key in ("end", "T_max"):
                    if scheduler.get(key) == old:
                        scheduler[key] = new
                if "milestones" in scheduler:
                    moved = [round(milestone * new / old) for milestone in scheduler.milestones]
                    scheduler.milestones = sorted({m for m in moved if 0 < m < new})
                said.append(f"{scheduler.type} ends at {unit} {new}, with the training")
        ends = [scheduler.get("end", 0) for scheduler in ours]
        if new and ends and 1 < max(ends) < new:
            if max(ends) == max(s.get("end", 0) for s in schedulers):
                said.append(
                    f"param_scheduler ends at {unit} {max(ends)} and the training at {new}: the "
                    "learning rate stays as it is from there on"
                )
    return said


def length(cfg: Mapping[str, Any]) -> tuple[int, int]:
    """How many epochs and how many iterations a training has; 0 for the one not stated."""
    loop = cfg.get("train_cfg") or {}
    return int(loop.get("max_epochs") or 0), int(loop.get("max_iters") or 0)


def require_no_idle_names(file: Path, read: set[str], values: Mapping[str, Any]) -> None:
    """Refuse a config that sets a name which its base has used by then, and nobody reads again.

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
            f"config {str(file)!r} sets {name!r}, which {Path(bases[0]).name} has used by then, so "
            "this would change nothing: set the keys themselves"
            + _where(values, name)
        )


def _where(values: Mapping[str, Any], name: str) -> str:
    keys = [path for path in paths(values) if path.endswith(f".{name}")]
    return f", such as {', '.join(keys)}" if keys else ""


def paths(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted key of every entry of a tree of dicts and lists."""
    if isinstance(node, dict | list | tuple):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield f"{prefix}{key}"
            yield from paths(child, f"{prefix}{key}.")


def _names(file: Path) -> tuple[dict[str, str], set[str], list[Path]]:
    """The variables that a config's own text assigns, those that it uses, and its bases."""
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
    # `_base_.data_root` and mmengine's `{{_base_.data_root}}`, which is no Python.
    used |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    return assigned, used, [file.parent / base for base in bases if "::" not in base]


def _assigned_below(file: Path) -> dict[str, str]:
    assigned, _, bases = _names(file)
    below = {name: value for base in bases for name, value in _assigned_below(base).items()}
    return below | assigned


def require_channels(model: Mapping[str, Any]) -> None:
    """Compare what a neck expects with what the backbone gives.

    Args:
        model: The ``model`` of a config.

    Raises:
        ValueError: They differ; the message names both.
    """
    neck = model.get("neck") or {}
    neck = neck[0] if isinstance(neck, list) else neck
    expected = neck.get("in_channels")
    if not isinstance(expected, list | tuple):
        return
    init_default_scope("mmdet")
    with torch.device("meta"):
        backbone = MODELS.build({**model["backbone"], "init_cfg": None})
    given = getattr(backbone, "out_channels", None)
    if isinstance(given, tuple) and tuple(expected) != given:
        raise ValueError(
            f"model.neck.in_channels={list(expected)}, and the backbone {model['backbone']['type']} "
            f"gives {list(given)} channels"
        )
