"""What a run of a row has measured: one JSON file a row."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..host.local_files import written_whole

FOLDER = Path("results")


@dataclass(frozen=True)
class Training:
    """How a row's training was begun, or gone on with after an interruption.

    Attributes:
        gpus: Processes that trained, one a GPU.
        hardware: What one of them ran on.
        date: UTC, year-month-day.
        commit: git's, with ``-dirty`` where files were changed.
        versions: Of Python and the libraries, by name.
        command: What was typed.
    """

    gpus: int
    hardware: str
    date: str
    commit: str
    versions: Mapping[str, str]
    command: str


@dataclass(frozen=True)
class Measurement:
    """A row's run to the end of its schedule, and all that one needs to know of it.

    Attributes:
        row: Key of the row.
        demo: Whether it was a short run on the made data, which measures nothing.
        metrics: COCO's average precisions on the test images, 0 to 1 (``coco/bbox_mAP``, …), after
            the last iteration.
        config: The config's file.
        weights: Where the backbone's weights were from; empty: random.
        gpu_hours: Of training, by the median time of an iteration and the number of iterations;
            None: no time was logged, or it was not on a GPU.
        date: Of the test; UTC, year-month-day.
        trainings: In their order; more than one where it was interrupted.
    """

    row: str
    demo: bool
    metrics: Mapping[str, float]
    config: str
    weights: str
    gpu_hours: float | None
    date: str
    trainings: Sequence[Training]

    @property
    def mAP(self) -> float:
        """Average precision over IoU 0.5 to 0.95, %."""
        return 100 * self.metrics["coco/bbox_mAP"]

    @property
    def hardware(self) -> str:
        """GPUs and what they are; where trainings differ, each of them once."""
        return _each_once(
            f"{t.gpus} x {t.hardware}" if t.gpus > 1 else t.hardware for t in self.trainings
        )

    @property
    def commit(self) -> str:
        """git's; where trainings differ, each of them once."""
        return _each_once(training.commit for training in self.trainings)


def _each_once(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def write_measurement(measurement: Measurement, path: str | os.PathLike[str]) -> None:
    """Write a measurement as JSON, whole or not at all.

    Args:
        measurement: What was measured.
        path: Of the file; its folder is made, and what is there is replaced.
    """
    _write(asdict(measurement), Path(path))


def add_training(training: Training, path: str | os.PathLike[str]) -> None:
    """Add to the JSON list of a row's trainings, which is written whole or not at all.

    Args:
        training: What begins now.
        path: Of the file, which need not be there.
    """
    _write([asdict(known) for known in (*read_trainings(path), training)], Path(path))


def read_trainings(path: str | os.PathLike[str]) -> tuple[Training, ...]:
    """Read what :func:`add_training` wrote; empty if the file is not there."""
    path = Path(path)
    return _trainings(json.loads(path.read_text())) if path.is_file() else ()


def _write(content: Any, path: Path) -> None:
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")


def read_measurement(path: str | os.PathLike[str]) -> Measurement:
    """Read what :func:`write_measurement` wrote.

    Args:
        path: Of the file.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no measurement.
    """
    try:
        measurement = _measurement(json.loads(Path(path).read_text()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{str(path)!r} is no measurement of a row: {error}") from error
    return measurement


def _measurement(content: dict[str, Any]) -> Measurement:
    _require_fields(Measurement, content)
    measurement = Measurement(**(content | {"trainings": _trainings(content["trainings"])}))
    if not 0 <= measurement.mAP <= 100:
        raise ValueError(f"coco/bbox_mAP is {measurement.metrics['coco/bbox_mAP']}, not 0 to 1")
    return measurement


def _trainings(content: list[dict[str, Any]]) -> tuple[Training, ...]:
    for training in content:
        _require_fields(Training, training)
        if not isinstance(training["gpus"], int):
            raise ValueError(f"gpus={training['gpus']!r}: must be a number")
    return tuple(Training(**training) for training in content)


def _require_fields(kind: type, content: dict[str, Any]) -> None:
    known = {field.name for field in fields(kind)}
    if set(content) != known:
        raise ValueError(f"a {kind.__name__} must have {', '.join(sorted(known))}")


def read_result(row: str, path: str | os.PathLike[str], *, demo: bool = False) -> Measurement:
    """Read what a row's run, or its demo, has measured.

    Args:
        row: Its key.
        path: Of the file.
        demo: Whether it is to be a demo's.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no measurement, or another row's, or a demo's where none is to be.
    """
    measurement = read_measurement(path)
    if (measurement.row, measurement.demo) != (row, demo):
        what = f"{'a demo of ' if measurement.demo else ''}{measurement.row}"
        raise ValueError(f"{str(path)!r} is of {what}: it is no figure of {row}")
    return measurement


def result_path(row: str, folder: str | os.PathLike[str] = FOLDER) -> Path:
    """Where a row's figure is kept."""
    return Path(folder) / f"{row}.json"


def read_results(
    rows: Mapping[str, object], folder: str | os.PathLike[str] = FOLDER
) -> dict[str, Measurement]:
    """Read the rows' figures.

    Args:
        rows: By key; only theirs are read.
        folder: With ``KEY.json`` of each row that was run.

    Returns:
        The measurements, by key, of the rows that were run.

    Raises:
        ValueError: A file is no measurement, or another row's, or a demo's.
    """
    paths = {row: result_path(row, folder) for row in rows}
    return {row: read_result(row, path) for row, path in paths.items() if path.is_file()}
