"""Split a data set by fractions: similar images stay together, classes are spread evenly."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from .annotations import Json

NEAR = 3
"""Images are near-duplicates if their 64-bit difference hashes differ in at most this many bits."""
_PAIRWISE = 20_000  # with more images, only equal hashes count


def split(
    content: Json,
    fractions: Mapping[str, float],
    *,
    root: str | Path | None = None,
    seed: int = 0,
    group_by: str | None = None,
) -> dict[str, Json]:
    """Split the content of an annotation file into parts.

    Images are assigned in groups, large groups and rare classes first. Each group goes to the part
    that still needs its classes most.

    Args:
        content: In COCO format.
        fractions: The fraction of each part; they add up to 1.
        root: The folder of the images; near-duplicates (frames of one video, resized or re-encoded
            copies) then stay in one part. None: the images are not read.
        seed: Seed of the order among equal groups.
        group_by: A regular expression. Images whose file names have the same match (the first
            group, if there is one) stay in one part.

    Raises:
        ValueError: The fractions do not add up to 1, or there are fewer groups than parts.
    """
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) <= 0:
        raise ValueError(f"fractions {dict(fractions)}: must be above 0 and add up to 1")
    groups = _groups(content, root, group_by)
    if len(groups) < len(fractions):
        raise ValueError(
            f"{len(content['images'])} images in {len(groups)} groups cannot be split into "
            f"{', '.join(fractions)}"
        )
    boxes: dict = {}
    for annotation in content["annotations"]:
        boxes.setdefault(annotation["image_id"], []).append(annotation)

    def weights(images: list[Json]) -> Counter:
        """The number of boxes of each class, and of images."""
        classes = Counter(
            box["category_id"] for image in images for box in boxes.get(image["id"], ())
        )
        return classes + Counter({"images": len(images)})

    total = weights(content["images"])
    lacking = {
        part: {key: share * n for key, n in total.items()} for part, share in fractions.items()
    }
    order = np.random.default_rng(seed).permutation(len(groups))
    counted = [(weights(groups[index]), groups[index]) for index in order]
    counted.sort(key=lambda group: -max(n / total[key] for key, n in group[0].items()))
    parts: dict[str, list[Json]] = {part: [] for part in fractions}
    for number, (brings, images) in enumerate(counted):
        empty = [part for part in parts if not parts[part]]
        left = len(counted) - number

        def need(part: str, brings: Counter = brings) -> float:
            return sum(
                n / total[key] * lacking[part][key] / (total[key] * fractions[part])
                for key, n in brings.items()
            )

        room = [part for part in parts if lacking[part]["images"] >= brings["images"] / 2]
        part = max(empty if empty and left <= len(empty) else room or parts, key=need)
        parts[part] += images
        for key, n in brings.items():
            lacking[part][key] -= n
    return {
        part: content
        | {
            "images": sorted(images, key=lambda image: str(image["file_name"])),
            "annotations": [box for image in images for box in boxes.get(image["id"], ())],
        }
        for part, images in parts.items()
    }


def _groups(content: Json, root: str | Path | None, group_by: str | None) -> list[list[Json]]:
    images = content["images"]
    parent = list(range(len(images)))

    def find(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    first: dict[object, int] = {}
    for index, image in enumerate(images):
        match = re.search(group_by, str(image["file_name"])) if group_by else None
        if match:
            key = match[1] if match.re.groups else match[0]
            parent[find(index)] = find(first.setdefault(key, index))
    if root is not None:
        for one, other in near_duplicates(
            [Path(root, str(image["file_name"])) for image in images]
        ):
            parent[find(one)] = find(other)
    groups: dict[int, list[Json]] = {}
    for index, image in enumerate(images):
        groups.setdefault(find(index), []).append(image)
    return list(groups.values())


def near_duplicates(paths: list[Path]) -> list[tuple[int, int]]:
    """Pairs of indices of near-duplicates, by difference hashes of 9x8 grey pixels."""
    hashes = np.array([_difference_hash(path) for path in paths], np.uint64)
    pairs: list[tuple[int, int]] = []
    if len(paths) > _PAIRWISE:
        first: dict[int, int] = {}
        for index, value in enumerate(hashes.tolist()):
            if first.setdefault(value, index) != index:
                pairs.append((first[value], index))
        return pairs
    for index, value in enumerate(hashes):
        bits = np.bitwise_count(hashes[index + 1 :] ^ value)
        pairs += [(index, index + 1 + int(other)) for other in np.flatnonzero(bits <= NEAR)]
    return pairs


def _difference_hash(path: Path) -> int:
    with Image.open(path) as image:
        image.draft("L", (64, 64))
        grey = np.asarray(image.convert("L").resize((9, 8)), int)
    return int("".join("01"[int(bit)] for bit in (grey[:, 1:] > grey[:, :-1]).flat), 2)
