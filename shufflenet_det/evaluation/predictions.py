"""Predictions from files and detectors, in COCO's result format."""

import io
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Json = dict[str, Any]
_KEYS = ("image_id", "category_id", "bbox", "score")


def read_predictions(
    path: str | Path, annotations: Json, classes: Sequence[str] | None = None
) -> list[Json]:
    """Read predictions.

    Args:
        path: A JSON file in COCO's result format, or a ``.pkl`` file of mmdet's test.
        annotations: The content of the annotation file.
        classes: The class names for the labels of a ``.pkl`` file. None: the categories of the
            annotations.

    Returns:
        Records with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and ``score``.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file has another format, or is for other images or classes.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"predictions {str(path)!r} not found")
    if path.suffix in (".pkl", ".pickle"):
        return check_predictions(_from_pickle(path, annotations, classes), annotations, str(path))
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is neither JSON nor .pkl: {error}") from error
    return check_predictions(content, annotations, str(path))


def check_predictions(content: Any, annotations: Json, name: str) -> list[Json]:
    """Check that predictions fit the annotations, and return them.

    Raises:
        ValueError: They are not in COCO's result format, or are for other images or classes.
    """
    if not isinstance(content, list):
        raise ValueError(f"{name}: COCO results must be a list, not {type(content).__name__}")
    for number, record in enumerate(content):
        if not isinstance(record, dict) or any(key not in record for key in _KEYS):
            raise ValueError(f"{name}: entry {number} must have {', '.join(_KEYS)}: {record!r:.80}")
        numbers = np.asarray([*record["bbox"], record["score"]], dtype=float)
        if numbers.shape != (5,) or not np.isfinite(numbers).all():
            raise ValueError(f"{name}: entry {number} has no finite box and score: {record!r:.80}")
    for key, what, known in (
        ("image_id", "image", {image["id"] for image in annotations["images"]}),
        ("category_id", "category", {c["id"] for c in annotations["categories"]}),
    ):
        unknown = sorted({str(r[key]) for r in content if r[key] not in known})
        if unknown:
            raise ValueError(
                f"{name}: {what} id {', '.join(unknown[:5])} is not in the annotations, which have "
                f"{', '.join(sorted(map(str, known))[:5])}, …"
            )
    return content


def predict(
    detector: Callable[[Path], Any], annotations: Json, image_root: str | Path
) -> list[Json]:
    """Run a detector over the images of an annotation file.

    Args:
        detector: Takes the path of an image and returns ``supervision.Detections`` with
            ``data['class_name']``, like :class:`shufflenet_det.Detector`. Use a score threshold of
            0: boxes below it count as missed.
        annotations: The content of the annotation file.
        image_root: The folder of the images; file names are relative to it.

    Returns:
        Records in COCO's result format. Classes are matched by name; boxes of other classes are
        dropped.

    Raises:
        ValueError: The detector and the annotations have no class in common.
    """
    from rich.progress import track

    ids = {category["name"]: category["id"] for category in annotations["categories"]}
    classes = getattr(detector, "classes", ids)
    if not set(classes) & set(ids):
        raise ValueError(
            f"the detector's classes ({', '.join(list(classes)[:5])}, …) and the annotations' "
            f"classes ({', '.join(list(ids)[:5])}, …) have no name in common"
        )
    records = []
    for image in track(annotations["images"], "detecting", transient=True):
        found = detector(Path(image_root) / image["file_name"])
        rows = zip(found.xyxy.tolist(), found.confidence, found["class_name"], strict=True)
        records += _records(image["id"], ((box, s, ids[n]) for box, s, n in rows if n in ids))
    return records


def _records(image_id: Any, rows: Iterable[tuple[Sequence[float], float, Any]]) -> list[Json]:
    return [
        {
            "image_id": image_id,
            "category_id": category,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(score),
        }
        for (x1, y1, x2, y2), score, category in rows
    ]


def _from_pickle(path: Path, annotations: Json, classes: Sequence[str] | None) -> list[Json]:
    names = [category["name"] for category in annotations["categories"]]
    ids = {category["name"]: category["id"] for category in annotations["categories"]}
    try:
        content = _Unpickler(io.BytesIO(path.read_bytes())).load()
        records = []
        for sample in content:
            found = sample["pred_instances"]
            rows = zip(
                *(found[key].tolist() for key in ("bboxes", "scores", "labels")), strict=True
            )
            labelled = ((box, s, (classes or names)[label]) for box, s, label in rows)
            records += _records(
                sample["img_id"], ((b, s, ids[n]) for b, s, n in labelled if n in ids)
            )
        return records
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(path)!r} contains no predictions of mmdet: {error}") from error
    except IndexError as error:
        raise ValueError(
            f"{str(path)!r} has labels outside the {len(classes or names)} classes"
        ) from error


class _Unpickler(pickle.Unpickler):
    """Loads only the types that tensors need, so opening a file runs no code."""

    def find_class(self, module: str, name: str) -> Any:
        import torch
        from torch._utils import _rebuild_tensor_v2

        known: Mapping[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
            ("torch.storage", "_load_from_bytes"): lambda content: torch.load(
                io.BytesIO(content), weights_only=True
            ),
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return known[module, name]
