"""Whether an exported model gives the same boxes as the detector in PyTorch."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv

from ..data.annotations import read_and_repair
from ..data.folders import image_root
from ..evaluation.predictions import predict

Predict = Callable[[Any], sv.Detections]
# Two boxes of one class are the same from this IoU on, or with all sides as near as this.
SAME = 0.9
_NEAR = 0.1  # pixels; boxes clipped to nothing have no IoU
_FILES = ("annotations/instances_val2017.json", "annotations/instances_val.json", "val.json")


@dataclass
class Differences:
    """Largest differences of two detectors' boxes."""

    images: int = 0
    boxes: int = 0  # of the first detector
    unmatched: int = 0  # of either, that the other has not, by an IoU of ``SAME`` and the class
    pixels: float = 0.0  # of matched boxes' sides, at most
    score: float = 0.0  # of matched boxes, at most
    # COCO's figures of the two by name, 0 to 1, where there were annotations.
    summaries: list[dict[str, float | None]] = field(default_factory=list)

    def add(self, first: Any, second: Any) -> None:
        """Compare the boxes of one more image."""
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
        """One line, and one of both summaries."""
        lines = [
            f"{self.images} images, {self.boxes} boxes: {self.unmatched} without a match; matched "
            f"ones differ by up to {self.pixels:.3f} pixels and {self.score:.5f} of score"
        ]
        if self.summaries:
            first, second = self.summaries
            shown = ", ".join(f"{key} {_text(first[key])} {_text(second[key])}" for key in first)
            lines.append(f"COCO's figures, PyTorch's first: {shown}")
        return "\n".join(lines)

    @property
    def cost(self) -> float | None:
        """How much mAP, in points, the second has less; None where it is not defined."""
        first, second = (summary["mAP"] for summary in self.summaries or [{"mAP": None}] * 2)
        return None if first is None or second is None else 100 * (first - second)


def compare(first: Predict, second: Predict, images: Iterable[Any]) -> Differences:
    """Run two detectors on the same images, whatever both read."""
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
    """Compare exported models on an annotated data set, box by box and by COCO's figures.

    Args:
        reference: The detector in PyTorch; detections have ``data['class_name']``.
        exported: An exported model on each of several runtimes, by name.
        dataset: See :func:`find_dataset`.
        classes: What the detectors find.

    Returns:
        The differences by name; without summaries where the data set has none of the classes.
    """
    from ..evaluation.scores import Evaluation

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
    """The annotations and the folder of images of a data set.

    Args:
        dataset: A COCO annotation file, or a folder laid out as COCO 2017.

    Raises:
        FileNotFoundError: The annotations or the images are not there.
        ValueError: The file is no annotation file of COCO's format, or has no images.
    """
    path = Path(dataset)
    if path.is_dir():
        found = [path / name for name in _FILES if (path / name).is_file()]
        if not found:
            raise FileNotFoundError(f"{str(dataset)!r} has none of {', '.join(_FILES)}")
        path = found[0]
    content, _ = read_and_repair(path)
    if not content["images"]:
        raise ValueError(f"{str(path)!r} has no images")
    return content, image_root(path, content)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def photographs() -> list[np.ndarray]:
    """A few views of a real photograph, matplotlib's sample, as BGR arrays of unlike sizes."""
    import matplotlib.cbook

    from ..detector.sources import read_image

    image = read_image(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    height, width = image.shape[:2]
    return [image, np.ascontiguousarray(image[: height // 2, ::-1]), image[:, width // 4 :].copy()]
