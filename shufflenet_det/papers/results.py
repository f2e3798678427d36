"""Measured figures as data: ``results/NAME.json``, one file for each set of experiments.

All experiments of a set have the same data and the same training budget, so that one table can
compare them. A file looks like this. ``shared`` holds fields that all rows share; a row's own value
overrides it::

    {
      "schema": 1,
      "title": "SSDLite on BCCD, 18 passes",
      "columns": {"backbone": "name", "mAP": "metrics.mAP:.1f", "minutes": "budget.minutes:.1f"},
      "shared": {"data": {"name": "BCCD", "train": "train", "train_images": 205, …}, …},
      "rows": [{"name": "ShuffleNetV2 1.0x", "metrics": {"mAP": 36.9}, …}]
    }
"""

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..host.local_files import atomic_write
from ..version import __version__

SCHEMA = 1
FOLDER = Path("results")
FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,  # of the row in a table
    "config": str,  # path below configs/, or empty
    "options": dict,  # --cfg-options or other settings
    "seed": (int, type(None)),
    "data": dict,
    "budget": dict,  # of the training; empty without a training
    "date": str,  # UTC, year-month-day
    "hardware": str,
    "versions": dict,
    "command": str,
    "metrics": dict,  # numbers; mAP and AP in %
}
DATA = ("name", "train", "train_images", "test", "test_images", "pixels")
BUDGET = ("passes", "epochs", "steps", "images_seen", "batch_size", "minutes", "gpu_hours")
_MEASURED = ("minutes", "gpu_hours")  # entries of a budget that may differ within a set
_IDENTITY = ("name", "options", "seed", "hardware")  # a new row replaces one with equal values
_PACKAGES = ("torch", "torchvision", "mmengine", "mmdet", "mmcv", "mmcv-lite", "numpy")

Row = dict[str, Any]


@dataclass
class ResultSet:
    """Experiments on the same data with the same budget: the content of ``NAME.json``.

    ``columns`` maps a heading to a dotted field of the row, with an optional format after a colon.
    Each row has all :data:`FIELDS`, including the shared ones.
    """

    name: str
    title: str
    columns: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    shared: Row = field(default_factory=dict)


def read(name: str, folder: str | os.PathLike[str] = FOLDER) -> ResultSet:
    """Read and check the set of results in ``folder/NAME.json``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file violates the schema, or its rows differ in data or budget.
    """
    path = Path(folder) / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}: this version reads {SCHEMA}")
        shared = content.get("shared", {})
        merged = [_merged(shared, row) for row in content["rows"]]
        _check(merged)
        return ResultSet(name, content["title"], dict(content["columns"]), merged, shared)
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def rows(name: str, folder: str | os.PathLike[str] = FOLDER) -> list[Row]:
    """The rows of a set; an empty list if there is no such file."""
    try:
        return read(name, folder).rows
    except FileNotFoundError:
        return []


def add(
    name: str,
    row: Mapping[str, Any],
    *,
    title: str = "",
    columns: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] = FOLDER,
) -> Path:
    """Add a row to a set; it replaces a row with the same name, options, seed and hardware.

    The file is written atomically, by one process at a time.

    Args:
        name: Name of the set. The file is created if necessary.
        row: A row with all :data:`FIELDS`; :func:`provenance` fills some of them.
        title, columns: Title and columns of a new set.
        folder: Folder of the sets.

    Returns:
        The path of the file.

    Raises:
        ValueError: The row violates the schema, or differs from the set in data or budget.
    """
    from filelock import FileLock

    path = Path(folder) / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{name}.lock")):
        known = path.is_file()
        found = read(name, folder) if known else ResultSet(name, title, dict(columns or {}))
        others = [r for r in found.rows if any(r[key] != row.get(key) for key in _IDENTITY)]
        merged = [*others, dict(row)]
        _check(merged)
        content = {
            "schema": SCHEMA,
            "title": found.title,
            "columns": found.columns,
            "shared": found.shared,
            "rows": [
                {k: v for k, v in r.items() if (k, v) not in found.shared.items()} for r in merged
            ],
        }
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return path


def provenance(*packages: str) -> Row:
    """Date, hardware, versions and command of a measurement; ``packages`` are additional ones."""
    versions = {"python": platform.python_version(), "shufflenet_det": __version__}
    for package in (*_PACKAGES, *packages):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    torch = sys.modules.get("torch")
    hardware = f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
    if torch is not None and torch.cuda.is_available():
        hardware = str(torch.cuda.get_device_name())
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "hardware": hardware,
        "versions": versions,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _merged(shared: Row, row: Row) -> Row:
    """A row with the shared fields; dicts are merged one level deep."""
    merged = {**shared, **row}
    for key, value in shared.items():
        if isinstance(value, dict) and isinstance(row.get(key), dict):
            merged[key] = {**value, **row[key]}
    return merged


def _check(found: list[Row]) -> None:
    """Check that all rows follow the schema and have the same data and budget."""
    for row in found:
        _check_fields(row)
    for what in ("data", "budget"):
        values = [{k: v for k, v in r[what].items() if k not in _MEASURED} for r in found]
        for row, value in zip(found, values, strict=True):
            if value != values[0]:
                raise ValueError(
                    f"{row['name']!r} has another {what} than {found[0]['name']!r}: {value}, not "
                    f"{values[0]}. Put figures that cannot be compared into different sets"
                )


def _check_fields(row: Row) -> None:
    name = row.get("name")
    for key, kind in FIELDS.items():
        if key not in row:
            raise ValueError(f"row {name!r} has no {key!r}")
        if not isinstance(row[key], kind):
            raise ValueError(f"row {name!r}: {key} is {row[key]!r}")
    unknown = [key for key in row if key not in (*FIELDS, "remark")]
    unknown += [f"data.{key}" for key in row["data"] if key not in DATA]
    unknown += [f"budget.{key}" for key in row["budget"] if key not in BUDGET]
    if unknown:
        raise ValueError(f"row {name!r} has unknown fields: {', '.join(unknown)}")
    for what in ("metrics", "budget"):
        for key, value in row[what].items():
            if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
                raise ValueError(f"row {name!r}: {what}.{key} is {value!r}, not a number")
    datetime.strptime(row["date"], "%Y-%m-%d")
