"""Losses and metrics of a training as an image, from the scalars that mmengine logs."""

import json
import os
import time
from collections import defaultdict
from pathlib import Path

from ..host.local_files import atomic_write

_SHARE = 0.005  # of a training's time that its plots may take
_LEFT_OUT = ("_75", "_s", "_m", "_l")  # of COCO's metrics
_last: dict[str, tuple[float, float]] = {}  # by work folder: when plotted, and in how many seconds


def draw_now_and_then(work_dir: str | os.PathLike[str]) -> None:
    """:func:`draw`, as often as takes no noticeable part of the time."""
    key, now = os.fspath(work_dir), time.monotonic()
    when, seconds = _last.get(key, (float("-inf"), 0.0))
    if now - when >= seconds / _SHARE:
        draw(work_dir)
        _last[key] = (now, time.monotonic() - now)


def draw(work_dir: str | os.PathLike[str]) -> Path | None:
    """Draw ``curves.png``: losses above, metrics below, over the iterations.

    Args:
        work_dir: The work folder; what runs that were resumed in it logged is taken together.

    Returns:
        The path of the image; None if nothing was logged.
    """
    losses, metrics = _read(Path(work_dir))
    if not losses:
        return None
    from matplotlib.figure import Figure  # no pyplot: it would choose a window system

    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    for name, points in losses.items():
        # One point has no line.
        style = "-" if len(points) > 1 else "o"
        above.plot(*zip(*sorted(points.items()), strict=True), style, label=name, linewidth=1)
    above.set(ylabel="loss", yscale="log")
    above.legend(fontsize="small")
    for name, points in metrics.items():
        below.plot(*zip(*sorted(points.items()), strict=True), "o-", label=name, markersize=3)
    below.set(xlabel="iteration", ylabel="metric")
    if metrics:
        below.legend(fontsize="small")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    path = Path(work_dir, "curves.png")
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=100)
    return path


def _read(work_dir: Path) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, float]]]:
    """Losses and metrics by name and iteration; what a later run logged replaces the earlier."""
    losses: dict[str, dict[int, float]] = defaultdict(dict)
    metrics: dict[str, dict[int, float]] = defaultdict(dict)
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        iteration = 0
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            iteration = entry.get("iter", iteration)  # of a validation, the step before it
            for name, value in entry.items():
                if name == "loss" or name.startswith("loss_"):
                    if value > 0:
                        losses[name][iteration] = value
                elif "/" in name and value >= 0 and not name.endswith(_LEFT_OUT):
                    metrics[name][iteration] = value
    return losses, metrics
