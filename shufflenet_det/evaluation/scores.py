"""Metrics of an evaluation by class and size, by threshold and by image."""

import contextlib
import io
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import supervision as sv
from faster_coco_eval import COCO, COCOeval_faster

Json = dict[str, Any]
Floats = npt.NDArray[np.floating]

IOU = 0.5  # a box with at least this IoU counts as found, except in mAP
BINS = 10  # of the calibration
AREAS = ("all", "small", "medium", "large")
SUMMARY = (
    *("mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large"),
    *("AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
)


@dataclass
class Curve:
    """Precision and recall at every threshold, the highest first.

    Attributes:
        scores: The thresholds, (n,).
        precision: (n,).
        recall: (n,); NaN if nothing is annotated.
    """

    scores: Floats
    precision: Floats
    recall: Floats

    @property
    def f1(self) -> Floats:
        """The harmonic mean of precision and recall, (n,)."""
        total = self.precision + self.recall
        return np.divide(
            2 * self.precision * self.recall, total, np.zeros_like(total), where=total > 0
        )

    def best(self) -> dict[str, float | None]:
        """The threshold with the highest F1, and F1, precision and recall at this threshold."""
        if not len(self.scores) or np.isnan(self.recall).all():
            return {"threshold": None, "F1": None, "precision": None, "recall": None}
        at = int(np.argmax(self.f1))
        found = {"threshold": self.scores, "F1": self.f1}
        found |= {"precision": self.precision, "recall": self.recall}
        return {key: float(values[at]) for key, values in found.items()}


class Evaluation:
    """Annotations and predictions, matched as in COCO's evaluation.

    Args:
        annotations: The content of an annotation file in COCO's format.
        predictions: Records in COCO's result format.

    Attributes:
        names: Category names by id.
        summary: COCO's twelve metrics by the names in :data:`SUMMARY`, 0 to 1; None if undefined.
    """

    def __init__(self, annotations: Json, predictions: list[Json]) -> None:
        self.names = {c["id"]: c["name"] for c in annotations["categories"]}
        self.images = annotations["images"]
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = annotations
            truth.createIndex()
            found = truth.loadRes(predictions) if predictions else _no_results(annotations)
            self._eval = COCOeval_faster(truth, found, "bbox")
            self._eval.evaluate()
            self._eval.accumulate()
            self._eval.summarize()
            matching = COCOeval_faster(truth, found, "bbox", extra_calc=True)
            matching.params.iouThrs = np.array([IOU])
            matching.params.areaRng = matching.params.areaRng[:1]
            matching.params.areaRngLbl = matching.params.areaRngLbl[:1]
            matching.evaluate()
            matching.accumulate()
        stats = self._eval.stats[: len(SUMMARY)]
        self.summary = {n: _known(v) for n, v in zip(SUMMARY, stats, strict=True)}
        pairs = (key.split("_") for key in matching.eval["matched"])
        self._truth_of = {int(detection): int(truth) for detection, truth in pairs}
        self._truth = truth.anns
        self.annotated = [a for a in truth.anns.values() if not a.get("iscrowd")]
        # A box on a crowd is neither correct nor a false alarm.
        self.predicted = [d for d in found.anns.values() if not self._is_ignored(d)]

    def _is_ignored(self, detection: Json) -> bool:
        truth = self._truth.get(self._truth_of.get(detection["id"], -1))
        return bool(truth and truth.get("iscrowd"))

    def is_right(self, detection: Json) -> bool:
        """Whether a predicted box matches an annotated box."""
        return detection["id"] in self._truth_of

    def curve(self, category: Any = None) -> Curve:
        """Precision and recall of one category, or of all boxes."""
        chosen = [d for d in self.predicted if category in (None, d["category_id"])]
        scores = np.array([d["score"] for d in chosen], dtype=float)
        order = np.argsort(-scores, kind="stable")
        right = np.cumsum(np.array([self.is_right(d) for d in chosen], dtype=float)[order])
        total = sum(category in (None, a["category_id"]) for a in self.annotated)
        recall = right / total if total else np.full(len(right), np.nan)
        # Boxes with equal scores share one threshold.
        last = np.flatnonzero(np.diff(scores[order], append=-np.inf))
        return Curve(
            scores[order][last], (right / np.arange(1, len(right) + 1))[last], recall[last]
        )

    def by_class(self) -> list[Json]:
        """AP by size and the best threshold of each class; None if nothing is annotated."""
        precision = self._eval.eval["precision"]  # (IoU, recall, class, area, detections)
        counts: dict[Any, int] = defaultdict(int)
        for annotation in self.annotated:
            counts[annotation["category_id"]] += 1
        rows = []
        for number, category in enumerate(self._eval.params.catIds):
            own = precision[:, :, number, :, -1]
            row = {"name": self.names[category], "boxes": counts[category]}
            row |= {"AP": _mean(own[..., 0]), "AP50": _mean(own[0, :, 0])}
            row |= {"AP75": _mean(own[5, :, 0])}
            row |= {f"AP_{area}": _mean(own[..., i]) for i, area in enumerate(AREAS) if i}
            rows.append(row | self.curve(category).best())
        return rows

    def calibration(self) -> Json:
        """The share of correct boxes for bins of scores, and the expected calibration error.

        The error is the mean over boxes of |precision - mean score| of their bin (Guo et al.,
        arXiv:1706.04599, Eq. 3).
        """
        scores = np.array([d["score"] for d in self.predicted], dtype=float)
        right = np.array([self.is_right(d) for d in self.predicted], dtype=float)
        bins, error = [], 0.0
        place = np.minimum((scores * BINS).astype(int), BINS - 1)
        for number in range(BINS):
            inside = place == number
            row: Json = {
                "from": number / BINS,
                "to": (number + 1) / BINS,
                "boxes": int(inside.sum()),
            }
            if inside.any():
                row |= {
                    "score": float(scores[inside].mean()),
                    "precision": float(right[inside].mean()),
                }
                error += inside.mean() * abs(row["score"] - row["precision"])
            bins.append(row)
        return {"bins": bins, "error": error if len(scores) else None}

    def confusion(self, threshold: float) -> sv.ConfusionMatrix:
        """The confusion matrix of boxes with scores of at least ``threshold``."""
        place = {category: number for number, category in enumerate(self.names)}
        predicted, annotated = (_by_image(boxes) for boxes in (self.predicted, self.annotated))
        ids = [image["id"] for image in self.images]
        return sv.ConfusionMatrix.from_detections(
            [_detections(predicted[i], place) for i in ids],
            [_detections(annotated[i], place) for i in ids],
            list(self.names.values()),
            conf_threshold=threshold,
            iou_threshold=IOU,
        )

    def by_image(self, threshold: float) -> list[Json]:
        """Missed, false and correct boxes of each image, the worst image first."""
        above = [d for d in self.predicted if d["score"] >= threshold]
        seen = {self._truth_of[d["id"]] for d in above if self.is_right(d)}
        predicted, annotated = _by_image(above), _by_image(self.annotated)
        rows = [
            {
                "image": image,
                "misses": [a for a in annotated[image["id"]] if a["id"] not in seen],
                "false_alarms": [d for d in predicted[image["id"]] if not self.is_right(d)],
                "right": [d for d in predicted[image["id"]] if self.is_right(d)],
            }
            for image in self.images
        ]
        return sorted(rows, key=lambda r: -len(r["misses"]) - len(r["false_alarms"]))


def percent(value: float | None) -> float | None:
    """A metric of 0 to 1, in %."""
    return None if value is None else 100 * value


def rounded(value: float | None) -> str:
    """A metric with one decimal; a dash if it is undefined."""
    return "-" if value is None else f"{value:.1f}"


def _no_results(annotations: Json) -> COCO:
    """Empty results, which ``loadRes`` cannot create."""
    empty = COCO()
    empty.dataset = {**annotations, "annotations": []}
    empty.createIndex()
    return empty


def _by_image(boxes: list[Json]) -> dict[Any, list[Json]]:
    found: dict[Any, list[Json]] = defaultdict(list)
    for box in boxes:
        found[box["image_id"]].append(box)
    return found


def _detections(boxes: list[Json], place: dict[Any, int]) -> sv.Detections:
    if not boxes:
        return sv.Detections.empty()
    xywh = np.array([box["bbox"] for box in boxes], dtype=float)
    return sv.Detections(
        sv.xywh_to_xyxy(xywh),
        confidence=np.array([box.get("score", 1.0) for box in boxes]),
        class_id=np.array([place[box["category_id"]] for box in boxes]),
    )


def _mean(precision: Floats) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _known(value: float) -> float | None:
    return float(value) if value > -1 else None
