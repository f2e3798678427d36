"""Compare the papers' COCO figures with ours: tables and a plot."""

import os
from pathlib import Path

from . import results
from .published import COCO_ROWS, CocoRow
from .tables import markdown

STEP = 16  # images of a training step over all processes, as the rows' schedules require
_PAPER, _OURS = "#808080", "#0072B2"


def measured(row: CocoRow, folder: str | os.PathLike[str] = results.FOLDER) -> results.Row | None:
    """The newest result of a row in a folder of results; None if there is none."""
    found = [r for r in results.rows(f"papers_{row.paper}", folder) if r["name"] == row.key]
    return found[-1] if found else None


def table(paper: str, folder: str | os.PathLike[str] = results.FOLDER) -> str:
    """The COCO table of 'v1' or 'v2' with our figures, as Markdown; empty cells were not run."""
    head = ("row", "detector", "backbone", "pixels", "mAP, paper", "mAP, ours", "difference")
    lines = []
    for row in COCO_ROWS.values():
        if row.paper == paper:
            figures, ours = ["", ""], measured(row, folder)
            if ours is not None:
                mAP = round(ours["metrics"]["mAP"], 1)
                figures = [f"{mAP:.1f}", f"{mAP - row.mAP:+.1f}"]
            published = (row.key, row.detector, row.backbone, row.size, f"{row.mAP:.1f}")
            lines.append((*published, *figures))
    if not lines:
        raise ValueError(f"paper {paper!r}: must be 'v1' or 'v2'")
    return markdown(head, lines)


def costs_table(folder: str | os.PathLike[str] = results.FOLDER) -> str:
    """All rows with the paper's figure, ours, and the cost of a run, as Markdown."""
    from mmengine.config import Config

    head = ("row", "mAP, paper", "mAP, ours", "pixels", "steps", "images", "starts from")
    lines = []
    for row in COCO_ROWS.values():
        cfg = Config.fromfile(row.config)
        steps, found = cfg.train_cfg.max_iters, measured(row, folder)
        ours = "not run" if found is None else f"{found['metrics']['mAP']:.1f}"
        weights = str(cfg.model.backbone.init_cfg.checkpoint)
        budget = (f"{steps:,}", f"{steps * STEP:,}")
        lines.append((row.key, f"{row.mAP:.1f}", ours, row.size, *budget, weights))
    return markdown(head, lines)


def plot(path: str | os.PathLike[str], folder: str | os.PathLike[str] = results.FOLDER) -> None:
    """Plot the papers' figures (hollow) and ours (filled) to an image file, one line per row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(COCO_ROWS.values()):
        ours = measured(row, folder)
        label = f"{row.mAP:.1f}, not run"
        if ours is not None:
            mAP = ours["metrics"]["mAP"]
            axes.plot([row.mAP, mAP], [y, y], "o-", color=_OURS, linewidth=1)
            label = f"paper {row.mAP:.1f}, ours {mAP:.1f}"
        axes.plot(row.mAP, y, "o", color=_PAPER, markerfacecolor="white")
        axes.annotate(
            label, (row.mAP, y), (8, 8), textcoords="offset points", va="center", fontsize=6
        )
    axes.set_yticks(range(len(COCO_ROWS)), list(COCO_ROWS), fontsize=7)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.25)
    axes.margins(x=0.12)
    axes.set_xlabel("mAP on COCO, %: hollow: papers (Table 7 of each), filled: ours", fontsize=8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
