"""Statistics of a data set: counts by class and size, box sizes in strides, a contact sheet."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from .annotations import Json

SIZES = {"small": 32**2, "medium": 96**2, "large": float("inf")}
"""COCO's limits of a box's area, in pixels of the image."""


def statistics(content: Json, size: int = 416) -> dict[str, Any]:
    """Count images, boxes and classes of a data set in COCO format.

    ``classes`` has the images and boxes of each class, and its boxes by COCO's three sizes. The
    side of a box is the square root of its area in pixels, after resizing the image to ``size``:
    ``box_side`` has percentiles, ``boxes_by_stride`` counts the boxes smaller than each stride.
    """
    images = {image["id"]: image for image in content["images"]}
    names = {category["id"]: category["name"] for category in content["categories"]}
    boxes = [box for box in content["annotations"] if box["image_id"] in images]
    classes: dict[str, Counter] = {name: Counter(images=0) for name in names.values()}
    sides = []
    for box in boxes:
        image = images[box["image_id"]]
        width, height = box["bbox"][2:]
        name = names.get(box["category_id"], f"unknown class {box['category_id']!r}")
        kind = next(kind for kind, area in SIZES.items() if box["area"] < area)
        classes.setdefault(name, Counter(images=0)).update(("boxes", kind))
        scaled = width * size / image["width"] * height * size / image["height"]
        sides.append(max(scaled, 0) ** 0.5)
    for category, _ in {(box["category_id"], box["image_id"]) for box in boxes}:
        classes[names.get(category, f"unknown class {category!r}")]["images"] += 1
    at = (5, 25, 50, 75, 95)
    percentiles = np.percentile(sides, at).tolist() if sides else []
    return {
        "images": len(images),
        "images_without_boxes": len(images) - len({box["image_id"] for box in boxes}),
        "boxes": len(boxes),
        "crowds": sum(bool(box["iscrowd"]) for box in boxes),
        "classes": {name: dict(counts) for name, counts in classes.items()},
        "box_side": {f"{p}%": side for p, side in zip(at, percentiles, strict=False)},
        "boxes_by_stride": {
            stride: sum(side < stride for side in sides) for stride in (8, 16, 32, 64)
        },
    }


def contact_sheet(content: Json, root: str | Path, out: str | Path) -> None:
    """Draw sixteen images from the folder ``root`` with their boxes into one PNG file."""
    import cv2
    import supervision as sv

    from .drawing import annotators

    names = {category["id"]: category["name"] for category in content["categories"]}
    order = {identifier: index for index, identifier in enumerate(names)}
    chosen = np.random.default_rng(0).permutation(len(content["images"]))[:16]
    tiles = []
    for image in (content["images"][index] for index in sorted(chosen)):
        pixels: Any = cv2.imread(str(Path(root, image["file_name"])))
        if pixels is None:
            raise ValueError(f"{Path(root, image['file_name'])}: not a readable image")
        mine = [box for box in content["annotations"] if box["image_id"] == image["id"]]
        if mine:
            corners = sv.xywh_to_xyxy(np.array([box["bbox"] for box in mine], float))
            labels = np.array([order.get(box["category_id"], 0) for box in mine])
            detections = sv.Detections(corners, class_id=labels)
            draw_boxes, draw_labels = annotators(pixels.shape[1::-1])
            pixels = draw_boxes.annotate(pixels, detections)
            text = [names.get(box["category_id"], "?") for box in mine]
            pixels = draw_labels.annotate(pixels, detections, text)
        tiles.append(sv.letterbox_image(pixels, (320, 320)))
    side = int(np.ceil(len(tiles) ** 0.5))
    blank = np.full_like(tiles[0], 255)
    rows = [tiles[start : start + side] for start in range(0, len(tiles), side)]
    rows[-1] += [blank] * (side - len(rows[-1]))
    sheet = np.vstack([np.hstack(row) for row in rows])
    if not cv2.imwrite(str(out), sheet):
        raise OSError(f"{out}: could not be written")
