"""Whether an exported model gives the same boxes as the detector in PyTorch."""

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv

Predict = Callable[[Any], sv.Detections]
# Two boxes of one class are the same from this IoU on, or with all sides as near as this.
SAME = 0.9
_NEAR = 0.1  # pixels; boxes clipped to nothing have no IoU
_IMAGE_FOLDERS = ("", "images", "val2017", "../val2017", "../images", "../train2017")


@dataclass
class Differences:
    """Largest differences of two detectors' boxes.

    Attributes:
        images: How many were compared.
        boxes: Boxes of the first detector.
        unmatched: Boxes of either that the other has not, by an IoU of ``SAME`` and the class.
        pixels: The largest difference of matched boxes' sides.
        score: The largest difference of matched boxes' scores.
        summaries: COCO's twelve numbers of the two, where there were annotations.
    """

    images: int = 0
    boxes: int = 0
    unmatched: int = 0
    pixels: float = 0.0
    score: float = 0.0
    summaries: list[list[float]] = field(default_factory=list)

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
        """One line, and one a summary."""
        lines = [
            f"{self.images} images, {self.boxes} boxes: {self.unmatched} without a match; matched "
            f"ones differ by up to {self.pixels:.3f} pixels and {self.score:.5f} of score"
        ]
        for name, numbers in zip(("PyTorch ", "exported"), self.summaries, strict=False):
            shown = " ".join(f"{100 * number:5.1f}" for number in numbers)
            lines.append(f"{name} AP, AP50, AP75, APs, m, l, AR1, 10, 100, ARs, m, l: {shown}")
        return "\n".join(lines)


def compare(first: Predict, second: Predict, images: Iterable[Any]) -> Differences:
    """Run two detectors on the same images.

    Args:
        first: The reference.
        second: The other.
        images: Whatever both read.
    """
    found = Differences()
    for image in images:
        found.add(first(image), second(image))
    return found


def verify(
    reference: Predict, exported: Predict, dataset: str | Path, classes: Sequence[str]
) -> Differences:
    """Compare two detectors on an annotated data set, box by box and by COCO's numbers.

    Args:
        reference: The detector in PyTorch.
        exported: The exported model.
        dataset: A COCO annotation file, its images beside it, or a folder laid out as COCO 2017.
        classes: Names in the order of the labels.

    Raises:
        FileNotFoundError: The annotations or the images are not there.
        ValueError: The data set has none of the classes.
    """
    annotations, folder = find_dataset(dataset)
    content = json.loads(annotations.read_text(encoding="utf-8"))
    ids = {category["name"]: category["id"] for category in content["categories"]}
    if not set(ids) & set(classes):
        raise ValueError(
            f"{str(annotations)!r} has none of the model's classes ({', '.join(classes[:3])}, …)"
        )
    differences = Differences()
    results: tuple[list[Any], list[Any]] = ([], [])
    for image in content["images"]:
        path = folder / image["file_name"]
        detections = [predict(path) for predict in (reference, exported)]
        differences.add(*detections)
        for found, of_detector in zip(detections, results, strict=True):
            of_detector.extend(_as_coco(found, image["id"], [ids.get(name) for name in classes]))
    differences.summaries = [_summary(annotations, of_detector) for of_detector in results]
    return differences


def find_dataset(dataset: str | Path) -> tuple[Path, Path]:
    """The annotation file and the folder of images of a data set, FileNotFoundError if none."""
    path = Path(dataset)
    if path.is_dir():
        names = ("annotations/instances_val2017.json", "annotations/instances_val.json", "val.json")
        found = [path / name for name in names if (path / name).is_file()]
        if not found:
            raise FileNotFoundError(f"{str(dataset)!r} has none of {', '.join(names)}")
        path = found[0]
    if not path.is_file():
        raise FileNotFoundError(f"annotation file {str(dataset)!r} not found")
    images = json.loads(path.read_text(encoding="utf-8")).get("images")
    if not images:
        raise ValueError(f"{str(path)!r} is no COCO annotation file, or one without images")
    for name in _IMAGE_FOLDERS:
        if (path.parent / name / images[0]["file_name"]).is_file():
            return path, path.parent / name
    raise FileNotFoundError(f"the images of {str(path)!r}, such as {images[0]['file_name']}")


def _as_coco(found: Any, image_id: Any, ids: Sequence[Any]) -> Iterable[dict[str, Any]]:
    sides = found.xyxy[:, 2:] - found.xyxy[:, :2]
    for corner, side, score, label in zip(
        found.xyxy[:, :2], sides, found.confidence, found.class_id, strict=True
    ):
        if ids[label] is not None:
            yield {
                "image_id": image_id,
                "category_id": ids[label],
                "bbox": [float(number) for number in (*corner, *side)],
                "score": float(score),
            }


def _summary(annotations: Path, results: list[Any]) -> list[float]:
    from faster_coco_eval import COCO, COCOeval_faster

    if not results:
        return [0.0] * 12
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval_faster(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(number) for number in evaluation.stats[:12]]


def photographs() -> list[np.ndarray]:
    """A few views of a real photograph, matplotlib's sample, as BGR arrays of unlike sizes."""
    import matplotlib.cbook

    from ..detector.sources import read_image

    image = read_image(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    height, width = image.shape[:2]
    return [image, np.ascontiguousarray(image[: height // 2, ::-1]), image[:, width // 4 :].copy()]
