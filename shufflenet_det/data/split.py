"""Whether a folder is the split that the papers trained and tested on.

Both papers train on COCO's train and val images of 2014 but 5000 of them, the minival set, on which
they test (V1, Sec. 4.4; V2, Sec. 4). Of 82,783 + 40,504 images that leaves 118,287. COCO 2017 is
these images under other names: its val2017 is minival, its train2017 the rest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Counts:
    """How much a split holds.

    Attributes:
        images: Images in the annotation file.
        boxes: Annotated objects, crowds included.
    """

    images: int
    boxes: int


PAPERS_SPLIT = {"train2017": Counts(118_287, 860_001), "val2017": Counts(5_000, 36_781)}
"""Counts of the official ``instances_*.json``, by the split's name."""


def check_papers_split(
    root: str | Path, expected: Mapping[str, Counts] = PAPERS_SPLIT
) -> dict[str, Counts]:
    """Verify that a folder in COCO's layout is the split of the papers.

    Args:
        root: Folder with ``annotations/instances_SPLIT.json`` and pictures in ``SPLIT/``.
        expected: What each split has to hold; the first names must be disjoint of the others.

    Returns:
        What was counted, by the split's name.

    Raises:
        FileNotFoundError: An annotation file is not there.
        ValueError: Counts differ, splits share images, objects belong to no image, or pictures are
            missing; all that was found is listed.
    """
    root = Path(root)
    counted, problems, seen = {}, [], dict[int, str]()
    for split, counts in expected.items():
        content = _read(root / "annotations" / f"instances_{split}.json")
        ids = [image["id"] for image in content["images"]]
        known = set(ids)
        counted[split] = Counts(len(ids), len(content["annotations"]))
        for what in ("images", "boxes"):
            found, wanted = getattr(counted[split], what), getattr(counts, what)
            if found != wanted:
                problems.append(f"{split} has {found:,} {what}, not {wanted:,}")
        if len(known) != len(ids):
            problems.append(f"{split} has {len(ids) - len(known):,} image ids twice")
        strangers = sum(a["image_id"] not in known for a in content["annotations"])
        if strangers:
            problems.append(f"{strangers:,} boxes of {split} belong to none of its images")
        for other in {seen[i] for i in known if i in seen}:
            shared = sum(seen.get(i) == other for i in known)
            problems.append(f"{shared:,} images of {split} are in {other}, too")
        seen |= dict.fromkeys(known, split)
        here = {path.name for path in (root / split).glob("*")}
        missing = [i["file_name"] for i in content["images"] if i["file_name"] not in here]
        if missing:
            problems.append(
                f"{len(missing):,} pictures are not in {root / split}, the first {missing[0]}"
            )
    if problems:
        raise ValueError(f"{str(root)!r} is not the papers' split of COCO: {'; '.join(problems)}")
    return counted


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: python tools/download_coco.py gets COCO 2017")
    try:
        content = json.loads(path.read_bytes())
        return {
            "images": [
                {"id": int(i["id"]), "file_name": str(i["file_name"])} for i in content["images"]
            ],
            "annotations": [{"image_id": int(a["image_id"])} for a in content["annotations"]],
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no COCO annotation file: {error!r}") from error
