"""Generate synthetic images in COCO's and in ImageNet's layout; nothing is downloaded.

The images show shapes of random colours, which hide parts of each other, on a textured background.
Equal arguments give equal files.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from .categories import coco_categories
from .folders import has_content, whole_folder

MIN_SIDE = 64  # pixels
CLASS_SIDE = 72  # pixels of a side of a classifier's image
_VERSION = 2  # raised whenever the same arguments give other files
_MARKER = "synthetic.json"
_FIRST_ID = {"train": 1, "val": 500_001}
_MAX_OBJECTS = 100  # of one image; keeps the ids of annotations apart
_MIN_AREA = 24  # pixels
_MIN_VISIBLE = 0.6  # of an object's area
_SUBPIXEL_BITS = 4

Outline = NDArray[np.float64]
Image = NDArray[Any]  # uint8
Mask = NDArray[np.bool_]


def _polar(radius: Callable[[NDArray[np.float64]], Any], n: int = 48, start: float = 90) -> Outline:
    """Points on a curve in polar coordinates."""
    angle = np.radians(start) + np.linspace(0, 2 * math.pi, n, endpoint=False)
    return np.stack([np.cos(angle), -np.sin(angle)], 1) * np.reshape(radius(angle), (-1, 1))


def _heart() -> Outline:
    t = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([np.sin(t) ** 3, -y / 16], 1)


def _crescent() -> Outline:
    outer, inner = np.radians(np.linspace(50, 310, 32)), np.radians(np.linspace(287, 73, 32))
    arcs = ((outer, 1.0, 0.0), (inner, 0.8, 0.45))
    return np.concatenate([np.stack([x + r * np.cos(a), r * np.sin(a)], 1) for a, r, x in arcs])


_ONE = np.ones_like
SHAPES: dict[str, Outline] = {
    "arrow": np.array(
        [(0, -1), (0.8, -0.1), (0.3, -0.1), (0.3, 1), (-0.3, 1), (-0.3, -0.1), (-0.8, -0.1)]
    ),
    "bolt": np.array([(0.3, -1), (-0.6, 0.15), (-0.05, 0.15), (-0.3, 1), (0.6, -0.25), (0, -0.25)]),
    "crescent": _crescent(),
    "cross": _polar(lambda a: np.tile([1.06, 0.5, 1.06], 4), 12, start=90 + 19.3),
    "disc": _polar(_ONE),
    "kite": np.array([(0, -1), (0.62, -0.3), (0, 1), (-0.62, -0.3)]),
    "heart": _heart(),
    "square": _polar(_ONE, 4, start=45),
    "star": _polar(lambda a: np.tile([1, 0.42], 5), 10),
    "triangle": _polar(_ONE, 3),
}
"""The outline of each shape, ``(N, 2)``, y downwards, with a radius of about 1."""
CATEGORIES = {
    "sports ball": "disc",
    "kite": "kite",
    "book": "square",
    "banana": "crescent",
    "pizza": "triangle",
    "teddy bear": "heart",
}
"""The shape for each of six COCO categories."""


def make_demo_dataset(
    root: str | os.PathLike[str],
    *,
    train_images: int = 400,
    val_images: int = 80,
    width: int = 256,
    height: int = 192,
    seed: int = 0,
) -> Path:
    """Generate a small data set in the layout of COCO 2017.

    An image holds two to five objects of :data:`CATEGORIES`, from 10 pixels to 72 % of its shorter
    side; all 80 categories of COCO are listed, so a COCO config needs no change. Boxes, areas and
    masks cover the visible pixels. In each split, the first image has a crowd and the second has no
    object. In one image of four, width and height are swapped.

    The data set is written atomically. An existing one with the same arguments is used again.

    Args:
        root: The folder for ``annotations``, ``train2017`` and ``val2017``; returned.
        train_images, val_images: The number of images, at least 2.
        width, height: In pixels, at least 64.
        seed: At least 0.

    Raises:
        FileExistsError: ``root`` has other content.
    """
    counts = _checked_counts(train_images, val_images, seed, least=2)
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"width and height must be >= {MIN_SIDE}, got {width} and {height}")
    made_with = {"of": "COCO", **counts, "width": width, "height": height, "seed": seed}

    def build(folder: Path) -> None:
        (folder / "annotations").mkdir()
        for split, count in counts.items():
            _write_split(folder, split, count, (width, height), seed)

    return _make_whole(Path(root), made_with, build)


def make_demo_classes(
    root: str | os.PathLike[str], *, train_images: int = 120, val_images: int = 30, seed: int = 0
) -> Path:
    """Generate a small folder in ImageNet's layout, with one class for each of :data:`SHAPES`.

    Args:
        root: The folder for ``train/CLASS`` and ``val/CLASS``; returned.
        train_images, val_images: The number of images of each class, at least 1.
        seed: At least 0.

    Raises:
        FileExistsError: ``root`` has other content.
    """
    counts = _checked_counts(train_images, val_images, seed, least=1)

    def build(folder: Path) -> None:
        pairs = [(split, name) for split in counts for name in SHAPES]
        for i, (split, name) in enumerate(tqdm(pairs, "Synthetic classes", disable=None)):
            (folder / split / name).mkdir(parents=True)
            rng = np.random.default_rng([seed, i])
            for number in range(counts[split]):
                image = textured_ground(rng, CLASS_SIDE, CLASS_SIDE)
                radius = rng.uniform(0.36, 0.48) * CLASS_SIDE
                centre = rng.uniform(radius, CLASS_SIDE - radius, 2)
                _paint(image, _placed(rng, name, radius, centre), rng)
                _write_jpeg(folder / split / name / f"{number:04}.jpg", image)

    return _make_whole(Path(root), {"of": "classes", **counts, "seed": seed}, build)


def draw_scene(
    rng: Generator, width: int, height: int, objects: int, crowd: bool = False
) -> tuple[Image, list[tuple[str, Mask, bool]]]:
    """Draw one image with several objects; later objects hide earlier ones.

    Args:
        rng: The random generator.
        width, height: In pixels.
        objects: The number of objects to draw; mostly hidden ones are left out.
        crowd: Also draw a cluster of small objects of one category.

    Returns:
        The image, ``(H, W, 3)`` BGR, and for each object its category, the mask of its visible
        pixels, ``(H, W)``, and whether it is a crowd.
    """
    image = textured_ground(rng, width, height)
    side = min(width, height)
    names = list(CATEGORIES)
    things = []
    if crowd:
        name, middle = str(rng.choice(names)), rng.uniform((0, 0), (width, height))
        centres = middle + rng.normal(0, 0.12 * side, (14, 2))
        things.append((name, True, [_placed(rng, CATEGORIES[name], 6.0, c) for c in centres]))
    for _ in range(objects):
        name = str(rng.choice(names))
        radius = math.exp(rng.uniform(math.log(5), math.log(0.36 * side)))
        outline = _placed(rng, CATEGORIES[name], radius, rng.uniform((0, 0), (width, height)))
        things.append((name, False, [outline]))
    seen, covered = [], np.zeros((height, width), bool)
    for name, is_crowd, outlines in reversed(things):  # the nearest first
        # Of the full area in a wider image, so that what the border cuts off counts as hidden.
        full = sum(cv2.contourArea(outline.astype(np.float32)) for outline in outlines)
        visible = _mask(outlines, width, height) & ~covered
        if visible.sum() >= _MIN_AREA and (is_crowd or visible.sum() >= _MIN_VISIBLE * full):
            seen.append((name, visible, is_crowd, outlines))
            covered |= visible
    for _, visible, _, outlines in reversed(seen):
        layer = image.copy()
        for outline in outlines:
            _paint(layer, outline, rng)
        image[visible] = layer[visible]
    return cv2.GaussianBlur(image, (3, 3), 0.6), [(n, mask, c) for n, mask, c, _ in seen]


def textured_ground(rng: Generator, width: int, height: int) -> Image:
    """A random colour with noise of several scales, ``(H, W, 3)``."""
    ground = np.full((height, width, 3), rng.uniform(60, 190, 3), np.float32)
    for cells, strength in ((3, 30), (12, 14), (48, 8)):
        noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        ground += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(ground + rng.normal(0, 4, ground.shape), 0, 255).astype(np.uint8)


def _placed(rng: Generator, shape: str, radius: float, centre: Any) -> Outline:
    """The outline of a shape in pixels, randomly narrowed and rotated."""
    angle = np.radians(rng.uniform(-30, 30))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (SHAPES[shape] * (rng.uniform(0.8, 1), 1)) @ turn.T * radius + centre


def _paint(image: Image, outline: Outline, rng: Generator) -> None:
    """Fill an outline with a vivid colour inside a dark edge."""
    hsv = rng.integers((0, 150, 150), (180, 256, 256)).astype(np.uint8).reshape(1, 1, 3)
    colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(float)
    middle = outline.mean(axis=0)
    for scale, ink in ((1.0, 0.4 * colour), (0.8, colour)):
        _fill(image, middle + scale * (outline - middle), ink.tolist())


def _mask(outlines: list[Outline], width: int, height: int) -> Mask:
    mask = np.zeros((height, width), np.uint8)
    for outline in outlines:
        _fill(mask, outline, 1)
    return mask.astype(bool)


def _fill(image: NDArray[Any], outline: Outline, ink: Any) -> None:
    fixed = np.rint(outline * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(image, [fixed], ink, cv2.LINE_8, _SUBPIXEL_BITS)


def _write_split(root: Path, split: str, count: int, size: tuple[int, int], seed: int) -> None:
    from pycocotools import mask as coco_mask

    (root / f"{split}2017").mkdir()
    ids = {str(category["name"]): category["id"] for category in coco_categories()}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in tqdm(range(count), f"Synthetic {split} images", disable=None):
        image_id = _FIRST_ID[split] + index
        # A generator for each image, so that more images leave the first ones as they are.
        rng = np.random.default_rng([seed, image_id])
        width, height = size if rng.random() < 0.75 else size[::-1]
        objects = 0 if index == 1 else int(rng.integers(2, 6))
        image, drawn = draw_scene(rng, width, height, objects, crowd=index % 25 == 0)
        name = f"{image_id:012d}.jpg"
        _write_jpeg(root / f"{split}2017" / name, image)
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for k, (category, mask, is_crowd) in enumerate(drawn):
            rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            annotations.append(
                {
                    "id": image_id * _MAX_OBJECTS + k,
                    "image_id": image_id,
                    "category_id": ids[category],
                    "iscrowd": int(is_crowd),
                    "area": int(mask.sum()),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                }
            )
    content = {"images": images, "annotations": annotations, "categories": coco_categories()}
    path = root / "annotations" / f"instances_{split}2017.json"
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


def _write_jpeg(path: Path, image: Image) -> None:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])
    path.write_bytes(data.tobytes())


def _checked_counts(train: int, val: int, seed: int, least: int) -> dict[str, int]:
    most = _FIRST_ID["val"] - _FIRST_ID["train"]
    for name, value in (("train_images", train), ("val_images", val)):
        if not least <= value <= most:
            raise ValueError(f"{name} must be {least} to {most}, got {value}")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    return {"train": train, "val": val}


def _make_whole(root: Path, made_with: dict[str, Any], build: Callable[[Path], None]) -> Path:
    """Build a folder atomically, unless it exists and was made with the same arguments."""
    from filelock import FileLock

    made_with = {"version": _VERSION, **made_with}
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / f".{root.name}.lock"):
        if has_content(root):
            try:
                known = json.loads((root / _MARKER).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                known = None
            if known != made_with:
                raise FileExistsError(
                    f"{str(root)!r} exists and is not the synthetic data made with {made_with}. "
                    "It is left as it is: remove it, or choose another folder."
                )
            return root
        with whole_folder(root) as building:
            build(building)
            (building / _MARKER).write_text(json.dumps(made_with), encoding="utf-8")
    return root
