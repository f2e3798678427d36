"""Exported detectors on a runtime of choice; nothing here imports torch but for ``.pt2``."""

from pathlib import Path
from typing import Any

import numpy as np
import supervision as sv

from ...detector.sources import read_image
from .engines import open_engine

__all__ = ["Detector"]


class Detector:
    """An exported model: an image in, boxes out, as the PyTorch detector gives them.

    Args:
        model: What ``shufflenet-det export`` wrote: ``.onnx``, ``.xml``, ``.ncnn.param``,
            ``.tflite`` or ``.pt2``.
        runtime: 'onnxruntime', 'openvino', 'ncnn', 'litert' or 'torch'; None is the file's own.
        threads: How many to run on; None is the runtime's choice.

    Attributes:
        classes: Name of each class; ``class_id`` counts in it.
        spec: The model's metadata: preprocessing, thresholds, versions.

    Raises:
        FileNotFoundError: The model is not there.
        ImportError: Its runtime is not installed.
        ValueError: It is no exported model of this package.

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
        """Detect on an image, or on each of several.

        Args:
            image: A path, a BGR array of OpenCV, a PIL image, or a sequence of these.
            score_threshold: Boxes with lower scores are left out, as those below the model's own.

        Returns:
            Boxes in pixels of the image as it is shown, best first, with ``confidence``,
            ``class_id`` and ``data['class_name']``; a list of these for a sequence.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file or the array is no image.
        """
        if isinstance(image, list | tuple):
            return [self(one, score_threshold) for one in image]
        outs: Any = self._engine(np.ascontiguousarray(read_image(image)[..., ::-1]))
        boxes, scores, labels = outs if len(outs) == 3 else suppress(outs[0], outs[1], self.spec)
        keep = scores >= score_threshold
        boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
        if len(labels) and labels.max() >= len(self.classes):
            raise ValueError(
                f"{self._name!r} finds class {labels.max()}, and its description names "
                f"{len(self.classes)} classes, from 0 on"
            )
        names = np.array([self.classes[label] for label in labels], dtype=str)
        return sv.Detections(
            xyxy=boxes.reshape(-1, 4).astype(np.float32),
            confidence=scores.astype(np.float32),
            class_id=labels.astype(int),
            data={"class_name": names},
        )


def suppress(
    boxes: np.ndarray, scores: np.ndarray, spec: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Non-maximum suppression for models that leave it to the host.

    Boxes are (n, 4), scores (n, classes); ``spec`` is the model's metadata.

    Returns:
        Boxes (k, 4), scores (k,) and labels (k,), the best first.
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
    # Classes are moved apart as mmcv does it: its rounding decides overlaps near the threshold.
    apart = found[:, :4] + found[:, 5:] * (found[:, :4].max(initial=0) + 1)
    kept: list[int] = []
    left = np.arange(len(found))
    while len(left) and len(kept) < spec["max_boxes"]:  # all pairs at once take a second
        kept.append(left[0])
        overlaps = sv.box_iou_batch(apart[left[:1]], apart[left[1:]])[0]
        left = left[1:][~(overlaps > spec["iou_threshold"])]
    found = found[kept]
    return found[:, :4], found[:, 4], found[:, 5].astype(np.int64)
