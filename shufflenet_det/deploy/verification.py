"""Compare an exported model with the detector in PyTorch, box by box and by mAP."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv

from ..data.folders import read_dataset
from ..evaluation.predictions import predict
from ..evaluation.scores import Evaluation, percent, rounded

Predict = Callable[[Any], sv.Detections]
# Boxes of one class match if their IoU is at least SAME, or if no side differs by _NEAR or more.
SAME = 0.9
_NEAR = 0.1  # pixels; a box that is clipped to zero size has no IoU
_FILES = ("annotations/instances_val2017.json", "annotations/instances_val.json", "val.json")


@dataclass
class Differences:
    """The largest differences between the boxes of two detectors."""

    images: int = 0
    boxes: int = 0  # of the first detector
    unmatched: int = 0  # boxes of either detector without a match in the other
    pixels: float = 0.0  # largest difference between the sides of matched boxes
    score: float = 0.0  # largest difference between the scores of matched boxes
    # COCO's metrics of both detectors by name, 0 to 1; empty without annotations.
    summaries: list[dict[str, float | None]] = field(default_factory=list)

    def add(self, first: Any, second: Any) -> None:
        """Compare the boxes of one image."""
        self.images += 1
        self.boxes += len(first)
        self.unmatched += len(first) + len(second)
        if not len(first) or not len(second):
            return
        apart = np.abs(first.xyxy[:, None] - second.xyxy).max(axis=2)
        overlaps = np.where(apart < _NEAR, 1, sv.box_iou_batch(first.xyxy, second.xyxy))
        overlaps = np.where(first.class_id[:, None] == second.class_id, overlaps, 0)
        for i in range(len(first)):
            j = int(overlaps[i].argmax())
            if overlaps[i, j] < SAME:
                continue
            overlaps[:, j] = 0
            self.unmatched -= 2
            self.pixels = max(self.pixels, float(np.abs(first.xyxy[i] - second.xyxy[j]).max()))
            score = abs(float(first.confidence[i]) - float(second.confidence[j]))
            self.score = max(self.score, score)

    def __str__(self) -> str:
        """One line about the boxes, and one about the metrics."""
        lines = [
            f"{self.images} images, {self.boxes} boxes: {self.unmatched} without a match; matched "
            f"boxes differ by up to {self.pixels:.3f} pixels, their scores by {self.score:.5f}"
        ]
        if self.summaries:
            first, second = self.summaries
            values = [
                f"{k} {rounded(percent(first[k]))} {rounded(percent(second[k]))}" for k in first
            ]
            lines.append(f"COCO metrics, PyTorch's first: {', '.join(values)}")
        return "\n".join(lines)

    @property
    def cost(self) -> float | None:
        """The mAP that the second detector loses, in points; None if mAP is undefined."""
        first, second = (summary["mAP"] for summary in self.summaries or [{"mAP": None}] * 2)
        return None if first is None or second is None else 100 * (first - second)


def compare(first: Predict, second: Predict, images: Iterable[Any]) -> Differences:
    """Compare two detectors on images of any form that both accept."""
    found = Differences()
    for image in images:
        found.add(first(image), second(image))
    return found


def verify(
    reference: Predict,
    exported: Mapping[str, Predict],
    dataset: str | Path,
    classes: Sequence[str],
) -> dict[str, Differences]:
    """Compare exported models on an annotated data set, box by box and by COCO's metrics.

    Args:
        reference: The detector in PyTorch. Its detections have ``data['class_name']``.
        exported: The exported model on each runtime, by the runtime's name.
        dataset: See :func:`find_dataset`.
        classes: The names of the detectors' classes.

    Returns:
        The differences by name; without summaries if the data set has none of the classes.
    """
    content, folder = find_dataset(dataset)
    images = [folder / image["file_name"] for image in content["images"]]
    known = {category["name"] for category in content["categories"]} & set(classes)
    results = {}
    reference = functools.cache(reference)
    for name, engine in exported.items():
        engine = functools.cache(engine)
        results[name] = compare(reference, engine, images)
        if known:
            results[name].summaries = [
                Evaluation(content, predict(detect, content, folder)).summary
                for detect in (reference, engine)
            ]
    return results


def find_dataset(dataset: str | Path) -> tuple[dict[str, Any], Path]:
    """Read the annotations of a data set, and find the folder of its images.

    Args:
        dataset: A COCO annotation file, or a folder laid out as COCO 2017.

    Raises:
        FileNotFoundError: The annotations or the images do not exist.
        ValueError: The annotation file is not in COCO's format, or has no images.
    """
    path = Path(dataset)
    if path.is_dir():
        found = [path / name for name in _FILES if (path / name).is_file()]
        if not found:
            raise FileNotFoundError(f"{str(dataset)!r} has none of {', '.join(_FILES)}")
        path = found[0]
    content, images, _ = read_dataset(path)
    if not content["images"]:
        raise ValueError(f"{str(path)!r} has no images")
    return content, images


def photographs() -> list[np.ndarray]:
    """Three views of a photograph, matplotlib's sample image, as BGR arrays of different sizes."""
    import matplotlib.cbook

    from ..detector.sources import read_image

    image = read_image(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    height, width = image.shape[:2]
    return [image, np.ascontiguousarray(image[: height // 2, ::-1]), image[:, width // 4 :].copy()]
