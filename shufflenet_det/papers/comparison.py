"""The papers' figures compared with ours: tables and a plot."""

import os
from pathlib import Path

from . import results
from .published import COCO_ROWS, CocoRow
from .runs import measured
from .tables import markdown

_PAPER, _OURS = "#808080", "#0072B2"


def rows_of(paper: str) -> list[CocoRow]:
    """The rows of 'v1' or 'v2'."""
    rows = [row for row in COCO_ROWS.values() if row.paper == paper]
    if not rows:
        raise ValueError(f"paper {paper!r}: must be 'v1' or 'v2'")
    return rows


def table(paper: str, folder: str | os.PathLike[str] = results.FOLDER) -> str:
    """One paper's table with our figures, as Markdown; a cell is empty where nothing was run.

    Args:
        paper: 'v1' or 'v2'.
        folder: Of the results.
    """
    head = ("row", "detector", "backbone", "pixels", "mAP, paper", "mAP, ours", "difference")
    lines = []
    for row in rows_of(paper):
        ours = measured(row, folder)
        figures = ["", ""]
        if ours is not None:
            mAP = round(ours["metrics"]["mAP"], 1)
            figures = [f"{mAP:.1f}", f"{mAP - row.mAP:+.1f}"]
        lines.append((row.key, row.detector, row.backbone, row.size, f"{row.mAP:.1f}", *figures))
    return markdown(head, lines)


def plot(path: str | os.PathLike[str], folder: str | os.PathLike[str] = results.FOLDER) -> None:
    """Draw the papers' figures (hollow) and ours (full), a line a row and a panel a paper.

    Args:
        path: Of the PNG file.
        folder: Of the results.

    Raises:
        ValueError: ``path`` does not end in .png.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{os.fspath(path)!r}: must end in .png")
    from matplotlib.figure import Figure

    papers = [rows_of(paper) for paper in ("v1", "v2")]
    figure = Figure(figsize=(9, 6.4), dpi=100, layout="constrained")
    panels = figure.subplots(2, 1, sharex=True, height_ratios=[len(rows) for rows in papers])
    for axes, rows in zip(panels, papers, strict=True):
        for y, row in enumerate(rows):
            ours = measured(row, folder)
            axes.plot(row.mAP, y, "o", color=_PAPER, markerfacecolor="white")
            label = f"{row.mAP:.1f}, not run"
            if ours is not None:
                mAP = ours["metrics"]["mAP"]
                axes.plot([row.mAP, mAP], [y, y], color=_OURS, linewidth=1)
                axes.plot(mAP, y, "o", color=_OURS)
                label = f"paper {row.mAP:.1f}, ours {mAP:.1f}"
            axes.annotate(
                label, (row.mAP, y), (8, 8), textcoords="offset points", va="center", fontsize=6
            )
        axes.set_yticks(range(len(rows)), [row.key for row in rows], fontsize=7)
        axes.invert_yaxis()
        axes.set_title(f"{rows[0].paper.upper()}, Table 7: {rows[0].detector}", fontsize=9)
        axes.grid(axis="x", alpha=0.25)
    panels[-1].set_xlabel("mAP on COCO, %: hollow the paper's, full ours", fontsize=8)
    panels[-1].margins(x=0.12)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
