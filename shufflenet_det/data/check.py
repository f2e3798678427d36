"""Check a data set before a run: annotations, classes, images, and images in several parts.

An error would train on wrong labels, stop the run in an epoch, or leave nothing to measure. A
warning names boxes or images that are dropped or clipped without harm.
"""

import difflib
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ..config_files import dicts_in
from .annotations import Json, image_size, read_and_repair

Severity = Literal["error", "warning"]
EXAMPLES = 5
QUICK_IMAGES = 1000
"""The quick check opens at most this many images, evenly spaced."""


@dataclass
class Finding:
    """One kind of problem: how often it occurs, and the first places."""

    severity: Severity
    kind: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        places = f": {', '.join(self.examples)}{more}" if self.examples else ""
        return f"{self.count} {self.kind}{places}" if self.count else f"{self.kind}{places}"


class Findings:
    """The findings of a check, errors first."""

    def __init__(self) -> None:
        self._found: dict[tuple[Severity, str], Finding] = {}

    def add(self, severity: Severity, kind: str, *examples: str) -> None:
        """Count one occurrence for each example. Without examples, ``kind`` is a whole sentence."""
        finding = self._found.setdefault((severity, kind), Finding(severity, kind))
        finding.count += len(examples)
        finding.examples += examples[: EXAMPLES - len(finding.examples)]

    def of(self, severity: Severity) -> list[Finding]:
        """The findings of one severity, in the order in which they were found."""
        return [finding for finding in self._found.values() if finding.severity == severity]

    def __iter__(self) -> Iterator[Finding]:
        yield from self.of("error")
        yield from self.of("warning")


def check_annotations(
    content: Json, classes: Sequence[str] | None = None, min_size: int = 0
) -> Findings:
    """Check that the entries of an annotation file fit each other and the classes of a config.

    Args:
        content: From :func:`.annotations.read_and_repair`.
        classes: The classes of the config. None: the classes of the file.
        min_size: The run skips images with a side shorter than this, in pixels.
    """
    found = Findings()
    images, annotations = content["images"], content["annotations"]
    _check_ids(content, found)
    _check_classes(content, classes, found)
    if not images:
        found.add("error", "the list 'images' is empty")
    elif all(min(image["width"], image["height"]) < min_size for image in images):
        found.add("error", f"every image is smaller than the required {min_size} pixels")
    if not annotations:
        found.add("error", "there is no box: the list 'annotations' is empty")
        return found
    if all(annotation["iscrowd"] for annotation in annotations):
        found.add("error", "every box is a crowd (iscrowd=1), and crowds are not trained on")
    _check_boxes(images, annotations, found)
    return found


def _check_ids(content: Json, found: Findings) -> None:
    for kind, name in (("images", "file_name"), ("categories", "name")):
        counts = Counter(entry["id"] for entry in content[kind])
        for entry in content[kind]:
            if counts[entry["id"]] > 1:
                where = f"{entry[name]!r} ({entry['id']})"
                found.add("error", f"{kind} that share their id", where)
    for name, count in Counter(category["name"] for category in content["categories"]).items():
        if count > 1:
            found.add("error", "names of more than one category", repr(name))
    for path, count in Counter(image["file_name"] for image in content["images"]).items():
        if count > 1:
            found.add("warning", "files that are listed as several images", repr(path))
        if os.path.isabs(str(path)) or ".." in Path(str(path)).parts:
            found.add("warning", "file names outside the image folder", repr(path))
    for key, kind in (("image_id", "images"), ("category_id", "categories")):
        known = {entry["id"] for entry in content[kind]}
        for annotation in content["annotations"]:
            if annotation[key] not in known:
                found.add(
                    "warning",
                    f"boxes whose {key} is not among the {kind} (they are not used)",
                    f"annotation {annotation['id']}: {annotation[key]!r}",
                )


def _check_classes(content: Json, classes: Sequence[str] | None, found: Findings) -> None:
    if classes is None:
        return
    names = {category["id"]: category["name"] for category in content["categories"]}
    boxes = Counter(names.get(annotation["category_id"]) for annotation in content["annotations"])
    there, wanted = list(names.values()), list(classes)
    if not set(there) & set(wanted):
        found.add(
            "error",
            f"none of the file's classes ({_list(there)}) is among the config's ({_list(wanted)})",
        )
        return
    missing = [name for name in wanted if name not in there]
    for name in there:
        if name in wanted or not boxes[name]:
            continue
        where = f"{name!r} ({boxes[name]} boxes)"
        near = difflib.get_close_matches(name.lower(), [m.lower() for m in missing], 1, 0.8)
        if near:
            meant = next(m for m in missing if m.lower() == near[0])
            kind = "classes that the config spells differently"
            found.add("error", kind, f"{where} for {meant!r}")
        else:
            kind = "classes that the config does not have (their boxes are not used)"
            found.add("warning", kind, where)
    if missing:
        found.add("warning", f"classes of the config without a category here: {_list(missing)}")


def _check_boxes(images: list[Json], annotations: list[Json], found: Findings) -> None:
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    box = np.array([annotation["bbox"] for annotation in annotations], float)
    side = np.array(
        [sizes.get(annotation["image_id"], (np.nan,) * 2) for annotation in annotations]
    )

    def name(index: int) -> str:
        return f"annotation {annotations[index]['id']}: {annotations[index]['bbox']}"

    def add(severity: Severity, kind: str, mask: np.ndarray) -> None:
        if mask.any():
            found.add(severity, kind, *map(name, np.flatnonzero(mask).tolist()))

    finite = np.isfinite(box).all(1)
    add("error", "boxes with NaN or infinite numbers", ~finite)
    start, size = np.where(finite[:, None], box, 0)[:, :2], np.where(finite[:, None], box, 1)[:, 2:]
    if finite.any() and (box[finite] <= 1).all() and (box[finite] >= 0).all():
        found.add(
            "error",
            f"all boxes lie between 0 and 1, as fractions of the image ({name(0)}); "
            "COCO's are pixels",
        )
        return
    end = start + size
    over = (end > side + 1).any(1)
    if over.mean() > 0.5 and (size >= start).all():
        found.add(
            "error",
            f"the boxes look like [x1, y1, x2, y2] ({name(0)}); COCO's are [x, y, width, height]",
        )
        return
    flat = finite & (size <= 0).any(1)
    outside = finite & ~flat & ((end <= 0) | (start >= side)).any(1)
    usable = finite & ~flat & ~outside
    tiny = usable & (size < 1).any(1)
    clipped = usable & (over | (start < -1).any(1))
    add("warning", "boxes without width or height (not used)", flat)
    add("warning", "boxes outside their image (not used)", outside)
    add("warning", "boxes of less than one pixel (not trained on)", tiny)
    add("warning", "boxes that extend beyond their image (clipped)", clipped)
    if not usable.any():
        found.add("error", "no usable box is left")


def check_images(
    content: Json,
    root: str | Path,
    *,
    decode: bool = False,
    limit: int | None = None,
    progress: bool = False,
) -> Findings:
    """Check that image files exist, can be read, and have the size in the annotation file.

    Args:
        content: From :func:`.annotations.read_and_repair`.
        root: The folder that file names are relative to.
        decode: Read every pixel, which finds truncated files. If False, read the headers only.
        limit: Check at most this many images, evenly spaced.
        progress: Show a progress bar.
    """
    images = content["images"]
    if limit and len(images) > limit:
        images = images[:: -(-len(images) // limit)]
    found = Findings()

    def problem(image: Json) -> tuple[str, str] | None:
        path = Path(root, str(image["file_name"]))
        try:
            if not path.stat().st_size:
                return "empty image files", str(path)
            actual = _size(path, decode)
        except FileNotFoundError:
            return "image files that are missing", str(path)
        except (OSError, SyntaxError, ValueError) as error:
            text = str(error).removeprefix(f"{path}: ")
            return "image files that cannot be read", f"{path}: {text}"
        stated = image["width"], image["height"]
        if actual == stated:
            return None
        kind = "images whose size differs from the annotation file"
        if actual == stated[::-1]:
            kind = "images that EXIF rotates but the annotation file does not"
        return kind, f"{path}: {actual[0]}x{actual[1]}, not {stated[0]}x{stated[1]}"

    with ThreadPoolExecutor() as pool:
        problems: Iterable = pool.map(problem, images)
        if progress:
            from rich.progress import track

            problems = track(problems, "images", total=len(images), transient=True)
        for result in problems:
            if result is not None:
                found.add("error", *result)
    return found


def _size(path: Path, decode: bool) -> tuple[int, int]:
    """Width and height of an image; ``decode`` reads every pixel."""
    size = image_size(path)
    if decode:
        with Image.open(path) as opened:
            opened.load()
    return size


def check_parts(parts: Mapping[str, tuple[Json, str | Path]], *, pixels: bool = False) -> Findings:
    """Check that no image is in two parts of a data set.

    Args:
        parts: The annotations and the image folder of each part.
        pixels: Compare the bytes of the files too, which finds copies with other names.
    """
    found = Findings()
    seen: dict[str, tuple[str, str]] = {}
    for part, (content, root) in parts.items():
        for path in [Path(root, str(image["file_name"])) for image in content["images"]]:
            keys = [os.path.abspath(path)]
            if pixels and path.is_file():
                keys.append(hashlib.sha256(path.read_bytes()).hexdigest())
            for key in keys:
                other, place = seen.setdefault(key, (part, str(path)))
                if other != part:
                    found.add(
                        "warning",
                        f"images of {other!r} that are also in {part!r}, so metrics are too high",
                        str(path) if place == str(path) else f"{path} is a copy of {place}",
                    )
                    break
    return found


def check_run_data(
    cfg: Mapping[str, Any], parts: Sequence[str] = ("train", "val"), *, full: bool = False
) -> None:
    """Check the data sets of a config before the first step.

    Args:
        cfg: A config of mmdet. Only data sets of type CocoDataset are checked.
        parts: The dataloaders to check.
        full: Read every pixel of every image. If False, read the headers of some images.

    Raises:
        ValueError: The data cannot be used; names each file and entry.
    """
    from mmdet.datasets import CocoDataset

    contents: dict[str, tuple[Json, str | Path]] = {}
    problems: list[str] = []
    warnings: list[str] = []
    for part in parts:
        for dataset in dicts_in(cfg.get(f"{part}_dataloader")):
            kind = str(dataset.get("type", "")).rpartition(".")[2]
            if kind != "CocoDataset" or not dataset.get("ann_file"):
                continue
            path = os.path.join(dataset.get("data_root") or "", dataset["ann_file"])
            if "://" in path:
                continue
            prefix = (dataset.get("data_prefix") or {}).get("img", "")
            root = os.path.join(dataset.get("data_root") or "", prefix)
            steps = dataset.get("pipeline") or ()
            loads = [step.get("with_mask", False) for step in steps if "with_bbox" in step]
            # The run's data set reuses this content.
            masks = any(loads) or not loads
            content, repairs = read_and_repair(path, root, masks=masks, keep=True)
            classes = (dataset.get("metainfo") or {}).get("classes") or CocoDataset.METAINFO[
                "classes"
            ]
            min_size = (dataset.get("filter_cfg") or {}).get("min_size", 0)
            if dataset.get("test_mode"):
                min_size = 0
            limit = None if full else QUICK_IMAGES
            for found in (
                check_annotations(content, classes, min_size),
                check_images(content, root, decode=full, limit=limit, progress=full),
            ):
                problems += [f"{path}: {finding}" for finding in found.of("error")]
                warnings += [f"{path}: {finding}" for finding in found.of("warning")]
            warnings += [f"{path}: {repair}" for repair in repairs]
            contents.setdefault(part, (content, root))
    warnings += map(str, check_parts(contents))
    logger = logging.getLogger("mmengine")
    for warning in warnings:
        logger.warning("data: %s", warning)
    if problems:
        raise ValueError(
            f"the data cannot be used: {'; '.join(problems)}. `shufflenet-det data check` lists "
            "all errors, its `--fix` writes a repaired copy, and `--check off` skips this check"
        )


def _list(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(map(str, names[:most]))
    return f"{shown}, … ({len(names)})" if len(names) > most else shown


def fix(content: Json, root: str | Path) -> tuple[Json, list[str]]:
    """Repair the content of an annotation file.

    Missing and unreadable images are removed with their boxes. Where an image has another size,
    the size is corrected if all its boxes fit, and the image is removed otherwise. Boxes are
    clipped to their image, and removed if they have no area, image or category.

    Returns:
        The repaired copy, and one sentence for each kind of change.
    """
    changes: Counter[str] = Counter()
    boxes: dict[Any, list[Json]] = {}
    for annotation in content["annotations"]:
        boxes.setdefault(annotation["image_id"], []).append(annotation)
    categories = {category["id"] for category in content["categories"]}
    images, annotations, seen = [], [], set()
    for image in content["images"]:
        if image["id"] in seen:
            changes["images with a repeated id were removed"] += 1
            continue
        seen.add(image["id"])
        try:
            size = _size(Path(root, str(image["file_name"])), decode=True)
        except (OSError, SyntaxError, ValueError):
            changes["missing or unreadable images were removed"] += 1
            continue
        mine = boxes.get(image["id"], [])
        if size != (image["width"], image["height"]):
            corners = np.array([annotation["bbox"] for annotation in mine] or [[0] * 4], float)
            if not (corners[:, :2] + corners[:, 2:] <= np.array(size) + 1).all():
                changes["images of another size were removed"] += 1
                continue
            image = image | {"width": size[0], "height": size[1]}
            changes["image sizes were corrected"] += 1
        images.append(image)
        for annotation in mine:
            x, y, width, height = annotation["bbox"]
            x1, y1 = max(x, 0), max(y, 0)
            x2, y2 = min(x + width, size[0]), min(y + height, size[1])
            if annotation["category_id"] not in categories or not (x2 > x1 and y2 > y1):
                changes["boxes without area, image or category were removed"] += 1
                continue
            if [x1, y1, x2 - x1, y2 - y1] != annotation["bbox"] and (
                x < 0 or y < 0 or x + width > size[0] or y + height > size[1]
            ):
                changes["boxes were clipped to their image"] += 1
                annotation = annotation | {"bbox": [x1, y1, x2 - x1, y2 - y1]}
            annotations.append(annotation)
    dangling = sum(len(mine) for identifier, mine in boxes.items() if identifier not in seen)
    if dangling:
        changes["boxes without area, image or category were removed"] += dangling
    fixed = content | {"images": images, "annotations": annotations}
    return fixed, [f"{count} {change}" for change, count in changes.items()]
