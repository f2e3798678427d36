"""The demo's images: ten drawn classes in ImageNet's layout."""

import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from tqdm import tqdm

from ..data.scenes import draw_scene
from ..data.things import Points, arc, darker, ellipse, turn, vivid

SIDE = 72
"""Pixels of a side of an image."""

_VERSION = "1"  # raised whenever the same arguments give other images
_SPLITS = ("train", "val")
_SUBPIXEL_BITS = 4
_MARKER = "demo_classes.json"


def _cross() -> Points:
    a, b = 0.35, 1.0
    quarter = np.array([(a, -b), (a, -a), (b, -a)])
    return np.concatenate([turn(quarter, 90 * i) for i in range(4)])


def _star() -> Points:
    return ellipse(0, 0, 1, n=10) * np.where(np.arange(10) % 2, 0.42, 1.0)[:, None]


def _heart() -> Points:
    t = np.linspace(0, 2 * math.pi, 60, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([np.sin(t) ** 3, -y / 16], axis=1)


def _drop() -> Points:
    return np.concatenate([arc(0, 0.35, 0.65, -20, 200, n=32), [(0.0, -1.0)]])


def _crescent() -> Points:
    return np.concatenate([arc(0, 0, 1, 50, 310, n=40), arc(0.45, 0, 0.8, 287, 73, n=32)])


SHAPES: dict[str, Points] = {
    "arrow": np.array(
        [(0, -1), (0.8, -0.1), (0.3, -0.1), (0.3, 1), (-0.3, 1), (-0.3, -0.1), (-0.8, -0.1)]
    ),
    "bolt": np.array([(0.3, -1), (-0.6, 0.15), (-0.05, 0.15), (-0.3, 1), (0.6, -0.25), (0, -0.25)]),
    "crescent": _crescent(),
    "cross": _cross(),
    "disc": ellipse(0, 0, 1),
    "drop": _drop(),
    "heart": _heart(),
    "square": turn(ellipse(0, 0, 1, n=4), 45),
    "star": _star(),
    "triangle": turn(ellipse(0, 0, 1, n=3), -90),
}
"""The outline of each class, (N, 2), y downwards, reaching about 1 from its middle."""


def make_demo_classes(
    root: str | os.PathLike[str], *, train_images: int = 120, val_images: int = 30, seed: int = 0
) -> Path:
    """Draw a small folder of images by class, with nothing to download.

    An image shows one shape of :data:`SHAPES` on textured ground, in any colour, tilted by up to 30
    degrees. Equal arguments give equal files. The folder appears whole or not at
    all; a whole one made with the same arguments is used again.

    Args:
        root: The folder that will hold ``train`` and ``val``.
        train_images: Images of each class in ``train``, at least 1.
        val_images: Images of each class in ``val``, at least 1.
        seed: At least 0.

    Returns:
        ``root``.

    Raises:
        FileExistsError: ``root`` holds anything else.
    """
    root = Path(root)
    counts = {"train": train_images, "val": val_images}
    made_with = {"version": _VERSION, **counts, "seed": seed}
    if _is_there(root, made_with):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}-") as scratch:
        building = Path(scratch, root.name)  # with the ordinary permissions
        pairs = [(split, name) for split in _SPLITS for name in SHAPES]
        for i, (split, name) in enumerate(tqdm(pairs, "Drawing demo classes", disable=None)):
            folder = building / split / name
            folder.mkdir(parents=True)
            rng = np.random.default_rng([seed, i])
            for number in range(counts[split]):
                bgr = draw_shape(rng, SHAPES[name])[..., ::-1]
                cv2.imwrite(str(folder / f"{number:04}.jpg"), bgr)
        (building / _MARKER).write_text(json.dumps(made_with))
        try:
            building.rename(root)
        except OSError:
            # Another process may have finished the same folder first.
            if not _is_there(root, made_with):
                raise
    return root


def draw_shape(rng: Generator, outline: Points) -> NDArray[np.uint8]:
    """Draw one image of a shape.

    Args:
        rng: The source of all chance.
        outline: The shape, as in :data:`SHAPES`.

    Returns:
        The image, (SIDE, SIDE, 3) RGB.
    """
    image, _ = draw_scene(rng, SIDE, SIDE, objects=0)
    radius = rng.uniform(0.36, 0.48) * SIDE
    centre = rng.uniform(radius, SIDE - radius, 2)
    points = turn(outline * (rng.uniform(0.8, 1), 1), rng.uniform(-30, 30))
    colour = vivid(rng)
    for scale, ink in ((1.0, darker(colour, 0.4)), (0.85, colour)):
        fixed = np.rint((points * radius * scale + centre) * (1 << _SUBPIXEL_BITS))
        rgb = [255 * channel for channel in ink]
        cv2.fillPoly(image, [fixed.astype(np.int32)], rgb, cv2.LINE_AA, _SUBPIXEL_BITS)
    return image


def _is_there(root: Path, made_with: dict[str, Any]) -> bool:
    """Whether the wanted folder is there; ``False`` if nothing is."""
    if not root.exists():
        return False
    try:
        is_same = json.loads((root / _MARKER).read_text()) == made_with
    except (OSError, ValueError):
        is_same = False
    if not is_same:
        raise FileExistsError(
            f"{str(root)!r} exists and is not the demo's folder made with {made_with}. It is left "
            "as it is: remove it, or choose another folder."
        )
    return True
