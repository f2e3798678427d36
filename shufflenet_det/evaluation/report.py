"""Write an evaluation as one self-contained HTML page, with PNG and JSON files."""

import base64
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from ..data.annotations import read_and_repair
from ..host.local_files import atomic_write
from . import figures
from .predictions import check_predictions, predict, read_predictions
from .scores import IOU, Evaluation, percent, rounded

Json = dict[str, Any]
SCHEMA = 1
WORST = 20
FILE = "report.json"
_DEFAULT_THRESHOLD = 0.3  # if there is no best one: nothing was annotated or predicted
_PERCENT = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "F1", "precision", "recall")
_TITLES = {
    "average_precision": "AP by class",
    "precision_recall": "Precision and recall",
    "f1": "F1 by threshold",
    "confusion": "Confusion: rows are annotated, columns predicted; FN and FP match nothing",
    "calibration": "Calibration of scores",
}
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .15rem .6rem; text-align: right }
th { border-bottom: 1px solid #888 } td:first-child, th:first-child { text-align: left }
figure { display: inline-block; margin: .5rem; vertical-align: top; max-width: 100% }
img { max-width: 100% }
"""


def report(
    annotations: str | Path,
    predictions: Any,
    image_root: str | Path,
    out_dir: str | Path,
    *,
    classes: Sequence[str] | None = None,
) -> Json:
    """Evaluate predictions and write a report.

    Args:
        annotations: A file in COCO's format.
        predictions: COCO results as a JSON file or a list of records; a ``.pkl`` file of mmdet's
            test; or a detector to run over the images (see :func:`~.predictions.predict`).
        image_root: The folder of the images; file names are relative to it.
        out_dir: Gets ``report.html``, ``report.json``, a PNG for each figure and the worst images.
        classes: The class names for the labels of a ``.pkl`` file. None: the categories of the
            annotations.

    Returns:
        The content of ``report.json``: ``metrics`` (COCO's twelve metrics in %), ``per_class``,
        ``best`` (threshold, F1, precision and recall of all boxes), ``calibration``,
        ``confusion`` (rows annotated, columns predicted) and ``worst_images``. Undefined values are
        None.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: A file has another format, or the predictions do not fit the annotations.
    """
    content, _ = read_and_repair(annotations, image_root)
    if callable(predictions):
        records = predict(predictions, content, image_root)
    elif isinstance(predictions, str | Path):
        records = read_predictions(predictions, content, classes)
    else:
        records = check_predictions(predictions, content, "predictions")
    evaluation = Evaluation(content, records)
    per_class = evaluation.by_class()
    best = evaluation.curve().best()
    threshold = _DEFAULT_THRESHOLD if best["threshold"] is None else best["threshold"]
    worst = evaluation.by_image(threshold)[:WORST]
    worst = [row for row in worst if row["misses"] or row["false_alarms"]]
    result = {
        "schema": SCHEMA,
        "annotations": Path(annotations).name,
        "images": len(content["images"]),
        "boxes": len(evaluation.annotated),
        "predictions": len(records),
        "metrics": {name: percent(value) for name, value in evaluation.summary.items()},
        "best": best,
        "per_class": per_class,
        "calibration": evaluation.calibration(),
        "confusion": evaluation.confusion(threshold).matrix.astype(int).tolist(),
        "worst_images": [
            {
                "file_name": row["image"]["file_name"],
                **{key: len(row[key]) for key in ("misses", "false_alarms", "right")},
            }
            for row in worst
        ],
    }
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    figures_at = {}
    for name, figure in figures.draw_all(evaluation, per_class, threshold).items():
        figures_at[name] = out_dir / f"{name}.png"
        figure.savefig(figures_at[name], dpi=120, format="png")
    drawn = {}
    for number, row in enumerate(worst):
        image = figures.image(Path(image_root) / row["image"]["file_name"], row, evaluation.names)
        if image is not None:
            path = out_dir / "worst" / f"{number + 1:02}.jpg"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
            drawn[number] = path
    for name, text in (
        (FILE, json.dumps(result, indent=1)),
        ("report.html", _page(result, figures_at, drawn)),
    ):
        with atomic_write(out_dir / name) as part:
            part.write_text(text, encoding="utf-8")
    return result


def read_report(path: str | Path) -> Json:
    """Read a report.

    Args:
        path: ``report.json``, its folder, or a work folder that contains ``report/``.

    Raises:
        FileNotFoundError: There is no report.
        ValueError: The file is not a report.
    """
    path = Path(path)
    places = [path] if path.is_file() else [path / FILE, path / "report" / FILE]
    for place in places:
        if place.is_file():
            try:
                content = json.loads(place.read_text(encoding="utf-8"))
                if content["schema"] == SCHEMA:
                    return content
                raise ValueError(f"its schema is {content['schema']}, not {SCHEMA}")
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{str(place)!r} is not a report: {error}") from error
    raise FileNotFoundError(
        f"no report in {str(path)!r}: shufflenet-det evaluate ANNOTATIONS PREDICTIONS --out DIR "
        "writes one"
    )


def _page(result: Json, figures_at: dict[str, Path], drawn: dict[int, Path]) -> str:
    best = result["best"]
    sentence = "No best threshold: nothing was annotated or predicted."
    if best["threshold"] is not None:
        sentence = (
            f"Best score threshold: {best['threshold']:.2f}, with F1 {best['F1']:.2f}, "
            f"precision {best['precision']:.2f}, recall {best['recall']:.2f} (IoU {IOU})."
        )
    ordered = sorted(result["per_class"], key=lambda r: (r["AP"] is None, -(r["AP"] or 0)))
    keys = ("name", "boxes", *_PERCENT, "threshold")
    rows = [[_cell(key, row[key]) for key in keys] for row in ordered]
    metrics = result["metrics"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation</title>",
        f"<style>{_STYLE}</style><h1>mAP {rounded(metrics['mAP'])} %</h1>",
        f"<p>{result['images']} images with {result['boxes']} boxes "
        f"({html.escape(result['annotations'])}), {result['predictions']} predictions. "
        f"{sentence} AP is COCO's, over IoU 0.50 to 0.95, in %. Small boxes are below 32x32 pixels,"
        " large boxes above 96x96. A dash means that there are no such annotations.</p>",
        _table(list(metrics), [[rounded(value) for value in metrics.values()]]),
        "<h2>Classes</h2>",
        _table(keys, rows),
        "<h2>Figures</h2>",
        *(_figure(path, _TITLES[name], "png") for name, path in figures_at.items()),
        f"<h2>The {len(result['worst_images'])} images with the most mistakes</h2>",
        "<p>At the best threshold. Green: correct; orange: missed; red: false alarm.</p>",
        *(
            _figure(path, _caption(result["worst_images"][number]), "jpeg")
            for number, path in drawn.items()
        ),
        "</html>\n",
    ]
    return "\n".join(parts)


def _caption(row: Json) -> str:
    return f"{row['file_name']}: {row['misses']} missed, {row['false_alarms']} false alarms"


def _figure(path: Path, title: str, kind: str) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    text = html.escape(title)
    source = f"data:image/{kind};base64,{content}"
    return f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _cell(key: str, value: Any) -> str:
    if key in _PERCENT:
        return rounded(percent(value))
    return f"{value:.2f}" if isinstance(value, float) else "-" if value is None else str(value)
