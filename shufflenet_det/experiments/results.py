"""What a run of a row has measured: one JSON file a row."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

FOLDER = Path("results")


@dataclass(frozen=True)
class Measurement:
    """A row's run to the end of its schedule, and all that one needs to know of it.

    Attributes:
        row: Key of the row.
        demo: Whether it was a short run on the made data, which measures nothing.
        metrics: COCO's summary on the test images, 0 to 1 (``coco/bbox_mAP``, …), after the last
            iteration.
        config: The config's file.
        weights: Where the backbone's weights were from; empty: random.
        gpus: Processes that trained, one a GPU.
        gpu_hours: Of training, by the median time of an iteration and the number of iterations;
            None: no time was logged, or it was not on a GPU.
        hardware: What one process ran on.
        date: UTC, year-month-day.
        commit: git's, with ``-dirty`` where files were changed.
        versions: Of Python and the libraries, by name.
        command: What was typed.
    """

    row: str
    demo: bool
    metrics: Mapping[str, float]
    config: str
    weights: str
    gpus: int
    gpu_hours: float | None
    hardware: str
    date: str
    commit: str
    versions: Mapping[str, str]
    command: str

    @property
    def mAP(self) -> float:
        """Average precision over IoU 0.5 to 0.95, %."""
        return 100 * self.metrics["coco/bbox_mAP"]


def write_measurement(measurement: Measurement, path: str | os.PathLike[str]) -> None:
    """Write a measurement as JSON, whole or not at all.

    Args:
        measurement: What was measured.
        path: Of the file; its folder is made, and what is there is replaced.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(json.dumps(asdict(measurement), indent=2) + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_measurement(path: str | os.PathLike[str]) -> Measurement:
    """Read what :func:`write_measurement` wrote.

    Args:
        path: Of the file.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It is no measurement.
    """
    try:
        content = json.loads(Path(path).read_text())
        known = {field.name for field in fields(Measurement)}
        if set(content) != known:
            raise ValueError(f"it must have {', '.join(sorted(known))}")
        measurement = Measurement(**content)
        measurement.mAP  # noqa: B018  # raises where there is none
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{str(path)!r} is no measurement of a row: {error}") from error
    return measurement


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
