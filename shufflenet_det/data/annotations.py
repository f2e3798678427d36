"""Read annotation files in COCO's format, and repair them where the meaning is clear."""

import itertools
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..host.coco_api import no_collection

Json = dict[str, Any]
_ORIENTATION = 0x0112  # the EXIF tag
_LISTS = ("images", "annotations", "categories")
# Numbers in brackets, to the last bracket before the next key; a quoted text has a backslash here.
_POLYGONS = re.compile(rb'(?<!\\)"segmentation"\s*:\s*\[[][\d.,eE\s+-]*,(?=\s*")')
_BOXES = frozenset(itertools.product((float, int), repeat=4))  # types of the numbers
_kept: dict[str, tuple[tuple, tuple[Json, list[str]]]] = {}


def read_and_repair(
    path: str | Path,
    image_root: str | Path | None = None,
    *,
    masks: bool = True,
    keep: bool = False,
) -> tuple[Json, list[str]]:
    """Read an annotation file in COCO's format.

    These are repaired: a byte order mark, backslashes in file names, numbers written as strings,
    annotations without ``id``, ``area`` or ``iscrowd``, and repeated annotation ids. Images
    without ``width`` and ``height`` get the size of their file.

    Args:
        path: The JSON file.
        image_root: The folder that file names are relative to. None: the folder is searched where
            an image has no size.
        masks: Read the polygons of ``segmentation`` too; they fill most of COCO's own files.
        keep: Keep the content in memory for the next call, which returns it if the file is
            unchanged.

    Returns:
        The content, and one sentence for each kind of repair.

    Raises:
        ValueError: The file is not JSON or not in COCO's format; names the file and the entry.
    """
    place, state = os.path.abspath(path), os.stat(path)
    version = (masks, state.st_mtime_ns, state.st_size)
    kept_version, found = _kept.pop(place, (None, None))
    if found is not None and kept_version == version:
        return found
    with no_collection():
        content, repairs = _read_and_repair(path, image_root, masks)
    if keep:
        _kept[place] = version, (content, repairs)
    return content, repairs


def _read_and_repair(
    path: str | Path, image_root: str | Path | None, masks: bool
) -> tuple[Json, list[str]]:
    content = read_json(path, masks=masks)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        found = sorted(content)[:5] if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path}: not COCO's format, which is an object with the lists {', '.join(_LISTS)}; "
            f"found {found}"
        )
    if not isinstance(content.get("annotations"), list):
        raise ValueError(
            f"{path}: has no list 'annotations', so there are no boxes to train or test on"
        )
    if not isinstance(content.get("categories"), list) or not content["categories"]:
        raise ValueError(
            f"{path}: has no 'categories', so the names of its classes are unknown; add "
            '"categories": [{"id": 1, "name": "…"}, …]'
        )
    for kind in _LISTS:
        for number, entry in enumerate(content[kind]):
            if not isinstance(entry, dict):
                raise ValueError(f"{path}: {kind}[{number}] is {entry!r:.60}, not an object")
    repairs: Counter[str] = Counter()
    if not any("segments_info" in entry for entry in content["annotations"][:1]):
        _repair(path, content, repairs, image_root)
    return content, [f"{count} {kind}" for kind, count in repairs.items()]


def find_images(annotations: str | Path, content: Json) -> Path:
    """Look for the images of an annotation file in the usual folders near it.

    Raises:
        FileNotFoundError: No folder has the first image; the message lists the folders.
    """
    parent, stem = Path(annotations).parent, Path(annotations).stem
    part = stem.removeprefix("instances_")
    places = [parent, parent / "images", parent / part, parent.parent / part]
    places += [parent.parent / "images", parent.parent / "images" / part, parent.parent]
    if not content["images"]:
        return parent
    name = str(content["images"][0]["file_name"])
    for place in places:
        if (place / name).is_file():
            return place
    raise FileNotFoundError(
        f"{annotations}: its image {name!r} is in none of {', '.join(map(str, places))}: "
        "name the folder of the images"
    )


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels of an image, rotated by its EXIF tag as OpenCV does."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            rotated = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image: {error}") from None
    return (height, width) if rotated else (width, height)


def read_json(path: str | Path, *, masks: bool = True) -> Any:
    """Read JSON in UTF-8 or UTF-16, or raise a ValueError that names the file."""
    raw = Path(path).read_bytes() if masks else _without_polygons(path)
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
        del raw  # COCO's own files are large
        return json.loads(text)
    except ValueError as error:  # bad encoding, bad JSON, or a number with too many digits
        raise ValueError(f"{path}: not a JSON file: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply for an annotation file") from None


def _without_polygons(path: str | Path) -> bytes:
    parts, text = [], b""
    with open(path, "rb") as file:
        while chunk := file.read(1 << 24):
            text += chunk
            # Stop before the last key: the next chunk may hold the rest of its numbers.
            found = text.rfind(b'"segmentation"')
            end = max(found - 1 if found > 0 else len(text) - 20, 0)
            parts.append(_POLYGONS.sub(b"", text[:end]))
            text = text[end:]
    return b"".join([*parts, _POLYGONS.sub(b"", text)])


def _repair(
    path: str | Path, content: Json, repairs: Counter[str], image_root: str | Path | None
) -> None:
    for number, category in enumerate(content["categories"]):
        _require(path, f"categories[{number}]", category, ("id", "name"))
        category["name"] = str(category["name"])
    for number, image in enumerate(content["images"]):
        where = f"images[{number}]"
        _require(path, where, image, ("id", "file_name"))
        if not isinstance(image["file_name"], str):
            raise ValueError(f"{path}: {where}.file_name is {image['file_name']!r}, not a name")
        if "\\" in image["file_name"]:
            image["file_name"] = image["file_name"].replace("\\", "/")
            repairs["file names with backslashes were read with slashes"] += 1
        for side in ("width", "height"):
            if isinstance(image.get(side), str):
                image[side] = _number(path, f"{where}.{side}", image[side])
                repairs["image sizes written as strings were read as numbers"] += 1
        if not isinstance(image.get("width"), int) or not isinstance(image.get("height"), int):
            try:
                image_root = image_root or find_images(path, content)
                image["width"], image["height"] = image_size(Path(image_root, image["file_name"]))
            except (OSError, ValueError) as error:
                raise ValueError(f"{path}: {where} has no 'width' and 'height': {error}") from error
            repairs["images without a size got the size of their file"] += 1
    known = {
        "image_id": {image["id"] for image in content["images"]},
        "category_id": {category["id"] for category in content["categories"]},
    }
    numbers = (entry.get("id") for entry in content["annotations"])
    largest = max((number for number in numbers if isinstance(number, int)), default=0)
    seen: set[Any] = {0}  # to COCO's evaluation, id 0 means no annotation
    for number, annotation in enumerate(content["annotations"]):
        if _is_plain(annotation, known, seen):
            seen.add(annotation["id"])
            continue
        where = f"annotations[{number}]"
        _require(path, where, annotation, ("image_id", "category_id", "bbox"))
        for key, ids in known.items():
            if annotation[key] not in ids:
                annotation[key] = _same_id(annotation[key], ids, repairs)
        identifier = annotation.get("id")
        if not isinstance(identifier, int | str) or identifier in seen:
            largest += 1
            annotation["id"] = identifier = largest
            repairs["annotations without an id of their own, or with id 0, got a new one"] += 1
        seen.add(identifier)
        box = annotation["bbox"]
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"{path}: {where}.bbox is {box!r:.60}, not [x, y, width, height]")
        if not all(isinstance(side, int | float) for side in box):
            annotation["bbox"] = [_number(path, f"{where}.bbox", side) for side in box]
            repairs["boxes written as strings were read as numbers"] += 1
        if not isinstance(annotation.get("area"), int | float):
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
            repairs["annotations without an area got the area of their box"] += 1
        if "iscrowd" not in annotation:
            annotation["iscrowd"] = 0
            repairs["annotations without iscrowd got iscrowd=0"] += 1


def _is_plain(annotation: Json, known: Mapping[str, set[Any]], seen: set[Any]) -> bool:
    """Whether an annotation needs no repair, as in COCO's own files."""
    box, identifier = annotation.get("bbox"), annotation.get("id")
    return (
        type(identifier) is int
        and identifier not in seen
        and type(box) is list
        and tuple(map(type, box)) in _BOXES
        and type(annotation.get("area")) in (int, float)
        and "iscrowd" in annotation
        and type(annotation.get("image_id")) is int
        and type(annotation.get("category_id")) is int
        and annotation["image_id"] in known["image_id"]
        and annotation["category_id"] in known["category_id"]
    )


def _same_id(identifier: Any, known: set[Any], repairs: Counter[str]) -> Any:
    """Turn ``'7'`` into 7 or 7 into ``'7'`` if only that id is known; otherwise keep the id."""
    for other in (str(identifier), int(identifier) if str(identifier).isdecimal() else None):
        if other in known:
            repairs["ids of images or classes were matched as text and number"] += 1
            return other
    return identifier


def _require(path: str | Path, where: str, entry: Json, keys: Iterable[str]) -> None:
    for key in keys:
        if key not in entry:
            raise ValueError(f"{path}: {where} has no {key!r}; found {sorted(entry)[:8]}")
        value = entry[key]
        if isinstance(value, dict | bool) or (isinstance(value, list) and key != "bbox"):
            raise ValueError(f"{path}: {where}.{key} is {value!r:.60}, not a number or a name")
        if isinstance(value, float) and key.endswith("id"):
            if not value.is_integer():
                raise ValueError(f"{path}: {where}.{key} is {value!r}, not a whole number")
            entry[key] = int(value)


def _number(path: str | Path, where: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: {where} is {value!r:.60}, not a number") from None
    return int(number) if math.isfinite(number) and number.is_integer() else number
