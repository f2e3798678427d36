"""The results of a detector: supervision's detections with their image. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv

from .sources import Array, ImageSource, read_image


class Detections(sv.Detections):
    """The boxes of one image, as ``supervision.Detections``; the highest score comes first.

    ``xyxy`` is in pixels of the original image, ``confidence`` is from 0 to 1, ``class_id`` starts
    from 0, and ``data['class_name']`` has the class names.
    """

    confidence: npt.NDArray[np.floating]
    class_id: npt.NDArray[np.integer]
    source: ImageSource | None = None  # the image or its path

    @classmethod
    def of(
        cls, detections: Any, classes: Sequence[str], source: ImageSource | None
    ) -> "Detections":
        """Add class names and the image to supervision's detections.

        Args:
            detections: ``supervision.Detections`` with ``class_id`` and ``confidence``.
            classes: Names of the classes.
            source: The image or its path.
        """
        order = np.argsort(-detections.confidence, kind="stable")
        own = cls._copy(detections[order], source)
        known = dict(enumerate(classes))
        names = [known.get(int(label), f"class {label}") for label in own.class_id]
        own.data["class_name"] = np.array(names, dtype=str)
        return own

    @classmethod
    def _copy(cls, detections: sv.Detections, source: ImageSource | None) -> "Detections":
        fields = ("xyxy", "mask", "confidence", "class_id", "tracker_id", "data", "metadata")
        own = cls(**{name: getattr(detections, name) for name in fields})
        own.source = source
        return own

    def __getitem__(self, index: Any) -> Any:
        """Select boxes or an entry of ``data``, as in supervision; keeps the image."""
        chosen = super().__getitem__(index)
        return self._copy(chosen, self.source) if isinstance(chosen, sv.Detections) else chosen

    def plot(self, path: str | Path | None = None, image: ImageSource | None = None) -> Array:
        """Draw boxes, names and scores; line width and text size fit the image.

        Args:
            path: Write the annotated image to this file; the suffix determines the format.
            image: Draw on this image. None: the image of the detections.

        Returns:
            A copy of the image with annotations, (H, W, 3), uint8, BGR.

        Raises:
            ValueError: The detections have no image and ``image`` is None, or OpenCV cannot write
                the format of ``path``.
            OSError: The file cannot be written.
        """
        image = self.source if image is None else image
        if image is None:
            raise ValueError("these detections have no image: pass plot(image=…)")
        drawn = draw(read_image(image), self)
        if path is not None:
            write_image(path, drawn)
        return drawn

    def as_coco(self, image_id: int | str, classes: Sequence[str], **more: Any) -> list[dict]:
        """Convert to COCO's result format, with class names.

        Args:
            image_id: The id of the image.
            classes: Names of the classes. COCO's 80 classes get their official ids, others start
                from 0.
            more: Additional entries for each record, such as the file name.
        """
        ids = category_ids(classes)
        boxes = self.xyxy.astype(float)
        boxes[:, 2:] -= boxes[:, :2]
        return [
            {
                "image_id": image_id,
                **more,
                "category_id": ids.get(name, int(label)),
                "category_name": str(name),
                "bbox": [round(number, 3) for number in box],
                "score": round(float(score), 5),
            }
            for box, score, label, name in zip(
                boxes.tolist(), self.confidence, self.class_id, self.data["class_name"], strict=True
            )
        ]


def category_ids(classes: Sequence[str]) -> dict[str, int]:
    """The category id of each class: the official ids for COCO's 80 classes, otherwise from 0."""
    from ..data.categories import coco_categories

    official = {str(c["name"]): int(c["id"]) for c in coco_categories()}
    if list(classes) == list(official):
        return official
    return {name: number for number, name in enumerate(classes)}


def draw(image: Array, detections: Any) -> Array:
    """Draw detections on a copy of an image.

    Args:
        image: (H, W, 3), uint8, BGR.
        detections: ``supervision.Detections`` with ``data['class_name']``.

    Returns:
        (H, W, 3), uint8, BGR.
    """
    from ..data.drawing import annotators

    best_last = detections[np.argsort(detections.confidence, kind="stable")]
    boxes, names = annotators((image.shape[1], image.shape[0]))
    labels = [
        f"{name} {score:.2f}"
        for name, score in zip(best_last["class_name"], best_last.confidence, strict=True)
    ]
    return names.annotate(boxes.annotate(image.copy(), best_last), best_last, labels)


def write_image(path: str | Path, image: Array) -> None:
    """Write an image; the suffix determines the format.

    Raises:
        ValueError: OpenCV cannot write this format.
        OSError: The file cannot be written.
    """
    path = Path(path)
    try:
        fits, content = cv2.imencode(path.suffix, image)
    except cv2.error:
        fits = False
    if not fits:
        raise ValueError(
            f"cannot write {str(path)!r}: {path.suffix!r} is not a format that OpenCV can write; "
            "use .jpg or .png"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.tobytes())
