"""The papers' figures beside what was measured here: tables and a plot."""

import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from terminaltables import GithubFlavoredMarkdownTable

from ..host.local_files import written_whole
from .published import Result
from .results import Measurement
from .runs import ROWS

NOT_RUN = "not run"
NOT_MEASURED = "not measured"
_PAPER, _OURS = "#808080", "#0072B2"


def rows_table(
    measured: Mapping[str, Measurement], configs: Mapping[str, str], hours: Mapping[str, float]
) -> str:
    """All rows, with what to know before running one, as Markdown.

    Args:
        measured: Finished rows, by key.
        configs: The config's path of every row.
        hours: GPU hours of the rows of which they were measured.
    """
    head = ("row", "paper, mAP", "ours, mAP", "config", "GPU hours")
    return _markdown(
        head,
        [
            (
                row.key,
                f"{row.mAP:.1f}",
                _ours(measured.get(row.key)),
                configs[row.key],
                f"{hours[row.key]:.1f}" if row.key in hours else NOT_MEASURED,
            )
            for row in ROWS.values()
        ],
    )


def comparison_table(measured: Mapping[str, Measurement]) -> str:
    """Both papers' tables with our figures beside, as Markdown.

    Args:
        measured: Finished rows, by key.
    """
    head = (
        *("row", "detector", "backbone", "pixels", "paper, mAP", "ours, mAP", "difference"),
        *("date", "hardware", "commit"),
    )
    parts = []
    for source, rows in groupby(ROWS.values(), key=lambda row: row.source):
        lines = [
            (row.key, row.detector, row.backbone, row.size, f"{row.mAP:.1f}", *_compared(row, ours))
            for row in rows
            for ours in [measured.get(row.key)]
        ]
        parts.append(f"## {source}\n\n{_markdown(head, lines)}")
    return "\n\n".join(parts)


def plot_comparison(measured: Mapping[str, Measurement], path: str | os.PathLike[str]) -> None:
    """Draw the papers' figures and ours, row by row; the PNG is written whole or not at all.

    Args:
        measured: Finished rows, by key.
        path: Of the PNG file; its folder is made.

    Raises:
        ValueError: If ``path`` does not end in .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{str(path)!r}: must end in .png")
    with written_whole(path) as partial:
        FigureCanvasAgg(draw_comparison(measured)).print_png(partial)


def draw_comparison(measured: Mapping[str, Measurement]) -> Figure:
    """Draw the figure of :func:`plot_comparison`: a line a row, a panel a paper.

    Args:
        measured: Finished rows, by key.
    """
    tables = [list(rows) for _, rows in groupby(ROWS.values(), key=lambda row: row.source)]
    figure = Figure(figsize=(9, 6.4), dpi=100, layout="constrained")
    panels = figure.subplots(len(tables), 1, sharex=True, height_ratios=[len(t) for t in tables])
    for axes, table in zip(panels, tables, strict=True):
        for y, row in enumerate(table):
            ours = measured.get(row.key)
            label = f"paper {row.mAP:.1f}, {NOT_RUN}"
            if ours is not None:
                axes.plot([row.mAP, ours.mAP], [y, y], color=_OURS, linewidth=1)
                axes.plot(ours.mAP, y, "o", color=_OURS, gid=f"ours/{row.key}")
                label = f"paper {row.mAP:.1f}, ours {ours.mAP:.1f}"
            axes.plot(
                row.mAP, y, "o", color=_PAPER, markerfacecolor="white", gid=f"paper/{row.key}"
            )
            right = max(row.mAP, ours.mAP if ours else 0)
            axes.annotate(
                label,
                (right, y),
                (8, 0),
                textcoords="offset points",
                verticalalignment="center",
                color=_OURS if ours else _PAPER,
                fontsize=7,
            )
        axes.set_yticks(range(len(table)), [row.key for row in table], fontsize=7)
        axes.set_ylim(len(table) - 0.4, -0.6)  # downwards
        axes.set_title(f"{table[0].source}: {table[0].detector}", fontsize=9, loc="left")
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("mAP on COCO, %: hollow the paper's, full ours", fontsize=8)
    panels[-1].tick_params(axis="x", labelsize=7)
    panels[-1].margins(x=0.12)
    return figure


def _compared(row: Result, ours: Measurement | None) -> tuple[str, ...]:
    if ours is None:
        return (NOT_RUN, "", "", "", "")
    # Of the figures as they are printed.
    difference = round(ours.mAP, 1) - row.mAP
    return (_ours(ours), f"{difference:+.1f}", ours.date, ours.hardware, ours.commit)


def _ours(measurement: Measurement | None) -> str:
    return NOT_RUN if measurement is None else f"{measurement.mAP:.1f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return str(GithubFlavoredMarkdownTable([head, *rows]).table)
