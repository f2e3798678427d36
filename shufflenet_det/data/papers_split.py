"""Check that a folder is the COCO split of the papers.

Both papers train on COCO's train and val images of 2014 except for 5,000 images, the minival set,
and test on minival (V1, Sec. 4.4; V2, Sec. 4): 82,783 + 40,504 - 5,000 = 118,287. COCO 2017 has the
same images with other names: val2017 is minival, train2017 the rest.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .annotations import read_json


class Counts(NamedTuple):
    """The number of images and of boxes in a split; crowds count as boxes."""

    images: int
    boxes: int


PAPERS_SPLIT = {"train2017": Counts(118_287, 860_001), "val2017": Counts(5_000, 36_781)}
"""Counts of the official ``instances_*.json``, by the split's name."""


def check_papers_split(
    root: str | Path, expected: Mapping[str, Counts] = PAPERS_SPLIT
) -> dict[str, Counts]:
    """Check that a folder in COCO's layout is the split of the papers.

    Args:
        root: Folder with ``annotations/instances_SPLIT.json`` and images in ``SPLIT/``.
        expected: The counts of each split; no image may be in two splits.

    Returns:
        The counts that were found, by the name of the split.

    Raises:
        FileNotFoundError: An annotation file is missing.
        ValueError: The folder is not the split; the message lists all differences.
    """
    root = Path(root)
    counted: dict[str, Counts] = {}
    problems: list[str] = []
    ids_of: dict[str, set[int]] = {}
    for split, wanted in expected.items():
        names, owners = _read(root / "annotations" / f"instances_{split}.json")
        ids = [number for number, _ in names]
        ids_of[split] = known = set(ids)
        counted[split] = Counts(len(ids), len(owners))
        for what, found in counted[split]._asdict().items():
            if found != getattr(wanted, what):
                problems.append(f"{split} has {found:,} {what}, not {getattr(wanted, what):,}")
        if len(known) != len(ids):
            problems.append(f"{split} has {len(ids) - len(known):,} repeated image ids")
        if strangers := sum(owner not in known for owner in owners):
            problems.append(f"{strangers:,} boxes of {split} have an unknown image")
        for other, others in ids_of.items():
            if other != split and (shared := len(known & others)):
                problems.append(f"{shared:,} images of {split} are also in {other}")
        here = {path.name for path in (root / split).glob("*")}
        if missing := [name for _, name in names if name not in here]:
            problems.append(
                f"{len(missing):,} images are not in {root / split}, such as {missing[0]}"
            )
    if problems:
        raise ValueError(f"{str(root)!r} is not the papers' split of COCO: {'; '.join(problems)}")
    return counted


def _read(path: Path) -> tuple[list[tuple[int, str]], list[int]]:
    """The id and file name of each image, and the image id of each annotation."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: `shufflenet-det download-coco` gets COCO 2017")
    try:
        content = read_json(path)
        images = [(_whole(i["id"]), str(i["file_name"])) for i in content["images"]]
        return images, [_whole(a["image_id"]) for a in content["annotations"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a COCO annotation file: {error!r}") from error


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"id {value!r} is not an integer")
    return value
