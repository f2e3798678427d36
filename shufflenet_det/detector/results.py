"""What a detector returns: supervision's detections, which know their image. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv

from .sources import Array, ImageSource, read_image


class Detections(sv.Detections):
    """The boxes of one image: a ``supervision.Detections``, so all of that library takes it.

    ``xyxy`` are pixels of the image as it was given, ``confidence`` scores from 0 to 1,
    ``class_id`` labels from 0 and ``data['class_name']`` their names; the best comes first.
    """

    confidence: npt.NDArray[np.floating]
    class_id: npt.NDArray[np.integer]
    source: ImageSource | None = None  # the image, or the path from which it is read again

    @classmethod
    def of(
        cls, detections: Any, classes: Sequence[str], source: ImageSource | None
    ) -> "Detections":
        """Detections with the names of their classes and their image.

        Args:
            detections: Of supervision, with ``class_id`` and ``confidence``.
            classes: Name of each class.
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
        """Some of the boxes, or an entry of ``data``, as in supervision; the image stays."""
        chosen = super().__getitem__(index)
        return self._copy(chosen, self.source) if isinstance(chosen, sv.Detections) else chosen

    def plot(self, path: str | Path | None = None, image: ImageSource | None = None) -> Array:
        """Draw boxes, names and scores, in sizes that fit the image.

        Args:
            path: Where to write the annotated image; the suffix gives the format.
            image: What to draw on; None is the image of the detections.

        Returns:
            The annotated image, (H, W, 3), uint8, BGR; the original is not changed.

        Raises:
            ValueError: Neither the detections nor ``image`` say which image, or the suffix of
                ``path`` is none that OpenCV writes.
            OSError: The file cannot be written.
        """
        image = self.source if image is None else image
        if image is None:
            raise ValueError("these detections have no image: give plot(image=…)")
        drawn = draw(read_image(image), self)
        if path is not None:
            write_image(path, drawn)
        return drawn

    def as_coco(self, image_id: int | str, classes: Sequence[str], **more: Any) -> list[dict]:
        """The boxes in the form of COCO's results, with names.

        Args:
            image_id: Of the image.
            classes: Name of each class; COCO's 80 get their official ids, others count from 0.
            more: Further entries of each record, such as the file's name.
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
    """The number of each class in COCO's results: official for COCO's 80, else from 0."""
    from ..data.categories import coco_categories

    official = {str(c["name"]): int(c["id"]) for c in coco_categories()}
    if list(classes) == list(official):
        return official
    return {name: number for number, name in enumerate(classes)}


def draw(image: Array, detections: Any) -> Array:
    """Draw detections on a copy of an image.

    Args:
        image: (H, W, 3), uint8, BGR.
        detections: Of supervision, with ``confidence``, ``class_id`` and ``data['class_name']``.

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
    """Write an image; the format is the suffix's.

    Raises:
        ValueError: OpenCV writes no such format.
        OSError: The file cannot be written.
    """
    path = Path(path)
    try:
        fits, content = cv2.imencode(path.suffix, image)
    except cv2.error:
        fits = False
    if not fits:
        raise ValueError(
            f"cannot write {str(path)!r}: {path.suffix!r} is no format that OpenCV writes; use "
            ".jpg or .png"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.tobytes())
