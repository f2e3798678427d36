"""Run exported detectors. Only ``.pt2`` models import torch."""

from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv

from ...detector.results import Detections
from ...detector.sources import read_image
from .engines import open_engine

__all__ = ["Detector"]


class Detector:
    """An exported model that takes images and returns the same boxes as the PyTorch detector.

    Args:
        model: A file of ``shufflenet-det export``: ``.onnx``, ``.xml``, ``.ncnn.param``,
            ``.tflite`` or ``.pt2``.
        runtime: 'onnxruntime', 'openvino', 'ncnn', 'litert' or 'torch'; None: the default of the
            file format.
        threads: The number of threads; None: the runtime's default.

    Attributes:
        classes: The class names; ``class_id`` is an index into them.
        spec: The model's metadata: preprocessing, thresholds, versions.

    Raises:
        FileNotFoundError: The model does not exist.
        ImportError: Its runtime is not installed.
        ValueError: The file is not an exported model of this package.

    Example:
        >>> from shufflenet_det.deploy import Detector
        >>> detections = Detector("model.onnx")("street.jpg")
    """

    def __init__(
        self, model: str | Path, *, runtime: str | None = None, threads: int | None = None
    ) -> None:
        self._name = str(model)
        self._engine, self.spec = open_engine(Path(model), runtime, threads)
        self.classes: tuple[str, ...] = tuple(map(str, self.spec["classes"]))

    def __call__(self, image: Any, score_threshold: float = 0) -> Any:
        """Detect objects on an image, or on each image of a sequence.

        Args:
            image: A path, an OpenCV array (BGR), a PIL image, or a sequence of these.
            score_threshold: The lowest score of a box. The model's own threshold also applies.

        Returns:
            :class:`~shufflenet_det.detector.results.Detections`, in pixels of the image after EXIF
            rotation; for a sequence, a list.

        Raises:
            FileNotFoundError: The file does not exist.
            ValueError: The file or the array is not an image.
        """
        if isinstance(image, list | tuple):
            return [self(one, score_threshold) for one in image]
        outs: Any = self._engine(np.ascontiguousarray(read_image(image)[..., ::-1]))
        boxes, scores, labels = outs if len(outs) == 3 else suppress(outs[0], outs[1], self.spec)
        keep = scores >= score_threshold
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        if len(labels) and labels.max() >= len(self.classes):
            raise ValueError(
                f"{self._name!r} predicts class {labels.max()}, but its metadata names only "
                f"{len(self.classes)} classes, counted from 0"
            )
        boxes, scores = boxes.reshape(-1, 4).astype(np.float32), scores.astype(np.float32)
        found = sv.Detections(boxes, confidence=scores, class_id=labels.astype(int))
        return Detections.of(found, self.classes, image)


def suppress(
    boxes: np.ndarray, scores: np.ndarray, spec: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Non-maximum suppression for models without it.

    Boxes are (n, 4), scores (n, classes); ``spec`` is the model's metadata.

    Returns:
        Boxes (k, 4), scores (k,) and labels (k,), the highest score first.
    """
    index, labels = np.nonzero(scores > spec["score_threshold"])
    found = np.concatenate(
        (boxes[index], scores[index, labels, None], labels[:, None]), axis=1
    ).astype(np.float32)
    best = np.argsort(-found[:, 4], kind="stable")
    if spec["nms_pre"] > 0:
        best = best[: spec["nms_pre"] * max(1, len(spec.get("levels", ())))]
    found = found[best]
    if spec["min_box_size"] >= 0:
        found = found[(found[:, 2:4] - found[:, :2] > spec["min_box_size"]).all(axis=1)]
    # mmcv's shift of each class, since its rounding decides where an overlap equals the threshold.
    apart = found[:, :4] + found[:, 5:] * (found[:, :4].max(initial=0) + 1)
    kept: list[int] = []
    left = np.arange(len(found))
    while len(left) and len(kept) < spec["max_boxes"]:  # the IoU of all pairs would take a second
        kept.append(left[0])
        overlaps = sv.box_iou_batch(apart[left[:1]], apart[left[1:]])[0]
        left = left[1:][~(overlaps > spec["iou_threshold"])]
    found = found[kept]
    return found[:, :4], found[:, 4], found[:, 5].astype(np.int64)
