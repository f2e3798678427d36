"""The actions of ``shufflenet-det data``."""

import argparse
import itertools
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..host.local_files import atomic_write
from .annotations import Json, read_and_repair
from .check import Findings, check_annotations, check_images, check_parts, fix
from .folders import read_dataset, whole_folder
from .formats import PARTS, Source, read_source
from .split import split
from .statistics import contact_sheet, statistics

FRACTIONS = {"train": 0.8, "val": 0.2}


def run_import(args: argparse.Namespace) -> int:
    """Import a labelled folder."""
    fractions = _fractions(args.split)
    source = read_source(args.source, args.format)
    if fractions and set(source.parts) != {"all"}:
        raise ValueError(
            f"{args.source} already has the parts {', '.join(source.parts)}: leave out --split"
        )
    if fractions:
        source.parts = _split(args, source.parts["all"], fractions, args.source)
    write(source, args.source, args.out)
    print(f"{args.source}: {source.format}")
    _tell(source.notes)
    for part, content in source.parts.items():
        print(f"{Path(args.out, part)}.json: {_counts(content)}")
    return 0


def run_split(args: argparse.Namespace) -> int:
    """Split one annotation file."""
    content, repairs = read_and_repair(args.annotations, args.images)
    _tell(repairs)
    parts = _split(args, content, _fractions(args.split) or FRACTIONS, args.images)
    os.makedirs(args.out, exist_ok=True)
    for part, share in parts.items():
        _write(Path(args.out, f"{part}.json"), share)
        print(f"{Path(args.out, part)}.json: {_counts(share)}")
    return 0


def _split(
    args: argparse.Namespace, content: Json, fractions: dict[str, float], images: str | None
) -> dict[str, Json]:
    return split(content, fractions, root=images, seed=args.seed, group_by=args.group_by)


def run_check(args: argparse.Namespace) -> int:
    """Check annotation files and their images; the exit status is 1 if there are errors."""
    if args.fix and len(args.annotations) > 1:
        raise ValueError("--fix takes one annotation file at a time")
    errors, parts = 0, {}
    for path in args.annotations:
        content, root, repairs = read_dataset(path, args.images)
        print(f"{path}: {_counts(content)}")
        _tell(repairs)
        found = [check_annotations(content, args.classes)]
        if not args.no_pixels:
            found.append(check_images(content, root, decode=True, progress=True))
        errors += _print(*found)
        parts[path] = (content, root)
        if args.fix:
            fixed, changes = fix(content, root)
            _write(Path(args.fix), fixed)
            _tell([f"{args.fix}: {_counts(fixed)}", *changes])
    if len(parts) > 1:
        names = [{c["name"] for c in content["categories"]} for content, _ in parts.values()]
        between = check_parts(parts, pixels=not args.no_pixels)
        for path, own in zip(args.annotations, names, strict=True):
            for name in sorted(set().union(*names) - own):
                between.add("warning", "classes that not every file has", f"{name!r} ({path})")
        errors += _print(between)
    print("nothing found" if not errors else f"{errors} kinds of errors")
    return 1 if errors else 0


def run_stats(args: argparse.Namespace) -> int:
    """Print the statistics of a data set."""
    from rich.console import Console
    from rich.table import Table

    content, root, _ = read_dataset(args.annotations, args.images)
    found = statistics(content, args.size)
    print(_counts(content))
    table = Table("class", "images", "boxes", "small", "medium", "large")
    for name, counts in found["classes"].items():
        columns = ("images", "boxes", "small", "medium", "large")
        table.add_row(name, *(str(counts.get(column, 0)) for column in columns))
    Console().print(table)
    sides = ", ".join(f"{at} {side:.0f}" for at, side in found["box_side"].items())
    print(f"box sides at {args.size} pixels (percentiles): {sides}")
    strides = ", ".join(f"{stride}: {n}" for stride, n in found["boxes_by_stride"].items())
    print(f"boxes smaller than a stride: {strides}")
    if args.json:
        _write(Path(args.json), found)
    if args.sheet:
        contact_sheet(content, root, args.sheet)
        print(f"contact sheet: {args.sheet}")
    return 0


def run_tile(args: argparse.Namespace) -> int:
    """Cut images and their boxes into overlapping tiles."""
    try:
        from sahi.slicing import slice_coco
    except ImportError as error:
        raise ImportError("data tile needs SAHI: pip install sahi") from error
    if not (args.size > 0 and 0 <= args.overlap < 1):
        raise ValueError(
            f"--size {args.size} --overlap {args.overlap}: a size above 0, an overlap from 0 to 1"
        )
    content, root, repairs = read_dataset(args.annotations, args.images)
    _tell(repairs)
    single = [a for a in content["annotations"] if not a.get("iscrowd")]
    if crowds := len(content["annotations"]) - len(single):
        _tell([f"{crowds} crowd regions are left out: in tiles they would be labelled as objects"])
    with whole_folder(args.out) as scratch:
        whole = scratch / "whole.json"
        _write(whole, content | {"annotations": single})
        tiles, _ = slice_coco(
            str(whole),
            str(root),
            "",  # the file is written below
            output_dir=str(scratch / "images"),
            slice_height=args.size,
            slice_width=args.size,
            overlap_height_ratio=args.overlap,
            overlap_width_ratio=args.overlap,
        )
        whole.unlink()
        _write(scratch / Path(args.annotations).name, tiles)
    print(f"{args.out}: {_counts(tiles)}")
    return 0


def write(source: Source, folder: str | Path, out: str | Path) -> None:
    """Write a labelled folder in COCO format: ``images/`` and a json for each part.

    Images are hard links if the file system allows it, otherwise copies. The folder is written
    atomically.

    Args:
        source: From :func:`.formats.read_source`.
        folder: The folder of the source.
        out: The new folder; it must not exist, or must be empty.
    """
    with whole_folder(out) as scratch:
        for part, content in source.parts.items():
            for image in content["images"]:
                _link(Path(folder, image["file_name"]), scratch / "images" / image["file_name"])
            _write(scratch / f"{part}.json", content)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        try:
            os.link(source.resolve(), target)
        except OSError:
            shutil.copy2(source, target)


def _write(path: Path, content: Any) -> None:
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content))


def _fractions(words: Iterable[str] | None) -> dict[str, float]:
    fractions = {}
    for word in words or ():
        part, _, share = word.partition("=")
        try:
            fractions[part] = float(share)
        except ValueError:
            part = ""
        if part not in PARTS.values():
            raise ValueError(
                f"--split {word!r}: must be PART=FRACTION with train, val or test, "
                "such as train=0.8 val=0.2"
            )
    return fractions


def _counts(content: Json) -> str:
    return (
        f"{len(content['images'])} images, {len(content['annotations'])} boxes, "
        f"{len(content['categories'])} classes"
    )


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        print(f"  {note}")


def _print(*found: Findings) -> int:
    """Print findings, and count the kinds of errors."""
    for finding in itertools.chain(*found):
        print(f"  {finding.severity}: {finding}")
    return sum(len(findings.of("error")) for findings in found)
