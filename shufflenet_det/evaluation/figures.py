"""The figures of a report, drawn with matplotlib and supervision."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import supervision as sv
from matplotlib.figure import Figure

from ..data.drawing import annotators
from .scores import IOU, Curve, Evaluation

Json = dict[str, Any]
_MOST_LINES = 10  # with more classes, their lines are grey
_COLOURS = {"right": "#4daf4a", "missed": "#ff9f1c", "false": "#e4003a"}


def precision_recall(total: Curve, classes: dict[str, Curve]) -> Figure:
    """Precision over recall, for all boxes and for each class."""
    figure, axes = _figure("recall", "precision")
    few = len(classes) <= _MOST_LINES
    for name, curve in classes.items():
        style = {"label": name} if few else {"color": "0.8"}
        axes.plot(curve.recall, curve.precision, linewidth=1, **style)
    axes.plot(total.recall, total.precision, "k", linewidth=2, label="all boxes")
    axes.legend(fontsize=8)
    axes.set_title(f"precision and recall, IoU {IOU}")
    return figure


def f1(total: Curve) -> Figure:
    """Precision, recall and F1 over the score threshold, with the best threshold."""
    figure, axes = _figure("score threshold", "")
    for name, values in (("precision", total.precision), ("recall", total.recall)):
        axes.plot(total.scores, values, linewidth=1, label=name)
    axes.plot(total.scores, total.f1, "k", linewidth=2, label="F1")
    best = total.best()
    if best["threshold"] is not None:
        axes.axvline(best["threshold"], color="0.5", linestyle=":")
        axes.set_title(f"best threshold {best['threshold']:.2f}: F1 {best['F1']:.2f}")
    axes.legend(fontsize=8)
    return figure


def average_precision(rows: Sequence[Json]) -> Figure:
    """AP of each class, the best class at the top."""
    known = sorted((row for row in rows if row["AP"] is not None), key=lambda row: row["AP"])
    figure = Figure((6, max(2.5, 0.8 + 0.18 * len(known))), layout="constrained")
    axes = figure.subplots()
    axes.barh([row["name"] for row in known], [100 * row["AP"] for row in known], height=0.7)
    axes.set(xlim=(0, 100), xlabel="AP, %")
    axes.tick_params("y", labelsize=8)
    axes.margins(y=0.01)
    return figure


def calibration(content: Json) -> Figure:
    """The share of correct boxes over the score."""
    figure, axes = _figure("score", f"share of correct boxes, IoU {IOU}")
    bins = [row for row in content["bins"] if row["boxes"]]
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":")
    left = [row["from"] for row in bins]
    axes.bar(left, [row["precision"] for row in bins], 0.1, align="edge", edgecolor="white")
    if content["error"] is not None:
        axes.set_title(f"expected calibration error {content['error']:.3f}")
    return figure


def confusion(matrix: sv.ConfusionMatrix) -> Figure:
    """The confusion matrix of the classes."""
    from matplotlib import pyplot

    if not matrix.matrix.any():  # supervision cannot draw an empty matrix
        return Figure((2, 2))
    side = min(14, max(5, len(matrix.classes) // 2))
    figure = matrix.plot(fig_size=(side + 1, side))
    pyplot.close(figure)
    return figure


def image(path: Path, row: Json, names: dict[Any, str]) -> Any:
    """Draw the correct, missed and false boxes on an image; None if it cannot be read.

    Args:
        path: The path of the image.
        row: An entry of :meth:`~.scores.Evaluation.by_image`.
        names: Category names by id.

    Returns:
        (H, W, 3), uint8, BGR.
    """
    drawn: Any = cv2.imread(str(path))
    if drawn is None:
        return None
    palette = sv.ColorPalette.from_hex(list(_COLOURS.values()))
    boxes, labels = annotators((drawn.shape[1], drawn.shape[0]), palette)
    found = [
        (box["bbox"], kind, f"{text}{names[box['category_id']]}" + _score(box))
        for kind, (key, text) in enumerate(
            (("right", ""), ("misses", "missed "), ("false_alarms", "false "))
        )
        for box in row[key]
    ]
    if not found:
        return drawn
    xywh, kinds, texts = zip(*found, strict=True)
    detections = sv.Detections(sv.xywh_to_xyxy(np.array(xywh)), class_id=np.array(kinds))
    return labels.annotate(boxes.annotate(drawn, detections), detections, list(texts))


def draw_all(evaluation: Evaluation, rows: Sequence[Json], threshold: float) -> dict[str, Figure]:
    """All figures of a report, by name."""
    total = evaluation.curve()
    classes = {name: evaluation.curve(i) for i, name in evaluation.names.items()}
    return {
        "average_precision": average_precision(rows),
        "precision_recall": precision_recall(total, classes),
        "f1": f1(total),
        "confusion": confusion(evaluation.confusion(threshold)),
        "calibration": calibration(evaluation.calibration()),
    }


def _score(box: Json) -> str:
    return f" {box['score']:.2f}" if "score" in box else ""


def _figure(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure((5, 4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=x, ylabel=y)
    return figure, axes
