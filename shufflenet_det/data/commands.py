"""What ``shufflenet-det data`` does."""

import argparse
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..host.local_files import atomic_write
from .annotations import Json, read_and_repair
from .check import Findings, check_annotations, check_images, check_parts, fix
from .formats import PARTS, Source, read_source
from .statistics import contact_sheet, statistics
from .subsets import split

FRACTIONS = {"train": 0.8, "val": 0.2}


def run_import(args: argparse.Namespace) -> int:
    """Import a labelled folder."""
    fractions = _fractions(args.split)
    source = read_source(args.source, args.format)
    if fractions and set(source.parts) != {"all"}:
        raise ValueError(
            f"{args.source} is split already into {', '.join(source.parts)}: leave out --split"
        )
    if fractions:
        source.parts = split(
            source.parts["all"],
            fractions,
            root=args.source,
            seed=args.seed,
            group_by=args.group_by,
        )
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
    parts = split(
        content,
        _fractions(args.split) or FRACTIONS,
        root=args.images,
        seed=args.seed,
        group_by=args.group_by,
    )
    os.makedirs(args.out, exist_ok=True)
    for part, share in parts.items():
        _write(Path(args.out, f"{part}.json"), share)
        print(f"{Path(args.out, part)}.json: {_counts(share)}")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Check annotation files and their images; exit status 1 if something has to be repaired."""
    if args.fix and len(args.annotations) > 1:
        raise ValueError("--fix takes one annotation file at a time")
    errors, parts = 0, {}
    for path in args.annotations:
        content, root, repairs = _read(path, args.images)
        print(f"{path}: {_counts(content)}")
        _tell(repairs)
        found = [check_annotations(content, args.classes)]
        if not args.no_pixels:
            found.append(check_images(content, root, decode=True, progress=True))
        errors += _print(found)
        parts[path] = (content, root)
        if args.fix:
            fixed, changes = fix(content, root)
            _write(Path(args.fix), fixed)
            _tell([f"{args.fix}: {_counts(fixed)}", *changes])
    if len(parts) > 1:
        names = [{c["name"] for c in content["categories"]} for content, _ in parts.values()]
        found = [check_parts(parts, pixels=not args.no_pixels)]
        for path, own in zip(args.annotations, names, strict=True):
            for name in sorted(set().union(*names) - own):
                found[0].add("warning", "classes that not every file has", f"{name!r} ({path})")
        errors += _print(found)
    print("nothing found" if not errors else f"{errors} kinds of errors")
    return 1 if errors else 0


def run_stats(args: argparse.Namespace) -> int:
    """Print what a data set holds."""
    from rich.console import Console
    from rich.table import Table

    content, root, _ = _read(args.annotations, args.images)
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
    content, root, repairs = _read(args.annotations, args.images)
    _tell(repairs)
    single = [a for a in content["annotations"] if not a.get("iscrowd")]
    if crowds := len(content["annotations"]) - len(single):
        _tell([f"{crowds} crowd regions are left out: their tiles would be labelled as objects"])
    with _whole_folder(args.out) as scratch:
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
    """Write a labelled folder in COCO's form: ``images/`` and a json for each part.

    Images are hard links where the file system allows it, else copies. The folder appears whole
    or not at all.

    Args:
        source: What :func:`.formats.read_source` has read.
        folder: From where.
        out: The new folder; it must not exist, or be empty.

    Raises:
        FileExistsError: ``out`` has content.
    """
    with _whole_folder(out) as scratch:
        for part, content in source.parts.items():
            for image in content["images"]:
                _link(Path(folder, image["file_name"]), scratch / "images" / image["file_name"])
            _write(scratch / f"{part}.json", content)


@contextlib.contextmanager
def _whole_folder(out: str | Path) -> Iterator[Path]:
    """A scratch folder that becomes ``out`` at the end, or vanishes where an error ends it."""
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out}: exists and is not empty")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield scratch
        if out.exists():
            out.rmdir()
        scratch.chmod(0o755)
        scratch.rename(out)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def image_root(annotations: str | Path, content: Json) -> Path:
    """The folder of an annotation file's images, in one of the usual places near it.

    Raises:
        FileNotFoundError: The first image is in none of them; names them.
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
        f"{annotations}: its image {name!r} is in none of {', '.join(map(str, places))}; "
        "name the folder with --images"
    )


def _read(path: str, images: str | None) -> tuple[Json, Path, list[str]]:
    content, repairs = read_and_repair(path, images or Path(path).parent)
    return content, Path(images) if images else image_root(path, content), repairs


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


def _fractions(words: Iterable[str] | None) -> dict[str, float] | None:
    if not words:
        return None
    fractions = {}
    for word in words:
        part, equals, share = word.partition("=")
        try:
            fractions[part] = float(share)
        except ValueError:
            equals = ""
        if not equals or part not in PARTS.values():
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


def _print(found: Iterable[Findings]) -> int:
    errors = 0
    for findings in found:
        for finding in findings:
            print(f"  {finding.severity}: {finding}")
            errors += finding.severity == "error"
    return errors
