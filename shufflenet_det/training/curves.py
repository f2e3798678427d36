"""Plot the losses and metrics of a training, from the scalars that mmengine logs."""

import json
import os
from collections import defaultdict
from pathlib import Path

from ..host.local_files import atomic_write

_LEFT_OUT = ("_75", "_s", "_m", "_l")  # COCO metrics that are not plotted


def draw(work_dir: str | os.PathLike[str]) -> Path | None:
    """Write ``curves.png``: losses above, metrics below, by iteration.

    Args:
        work_dir: The work folder. Logs of all its runs, resumed ones too, are combined.

    Returns:
        The path of the image; None if nothing was logged.
    """
    losses, metrics = _read(Path(work_dir))
    if not losses:
        return None
    from matplotlib.figure import Figure  # not pyplot, which needs a display backend

    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    for name, points in losses.items():
        # A single point has no line.
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
    """Losses and metrics by name and iteration; later runs replace values of earlier ones."""
    losses: dict[str, dict[int, float]] = defaultdict(dict)
    metrics: dict[str, dict[int, float]] = defaultdict(dict)
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        iteration = 0
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            iteration = entry.get("iter", iteration)  # validations log none: use the last step's
            for name, value in entry.items():
                if name == "loss" or name.startswith("loss_"):
                    if value > 0:
                        losses[name][iteration] = value
                elif "/" in name and value >= 0 and not name.endswith(_LEFT_OUT):
                    metrics[name][iteration] = value
    return losses, metrics
