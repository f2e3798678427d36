"""Folders of data sets: where the images of an annotation file are, and writing one whole."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .annotations import Json, read_and_repair


def read_dataset(
    annotations: str | Path, images: str | Path | None = None
) -> tuple[Json, Path, list[str]]:
    """Read an annotation file, and find its images where ``images`` does not name their folder.

    Returns:
        The content, the folder that file names start from, and a sentence for each repair.
    """
    content, repairs = read_and_repair(annotations, images or Path(annotations).parent)
    return content, Path(images) if images else image_root(annotations, content), repairs


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


def has_content(path: Path) -> bool:
    """Whether a path is a file, or a folder that holds something."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


@contextmanager
def whole_folder(out: str | Path) -> Iterator[Path]:
    """A scratch folder that becomes ``out`` at the end, or vanishes where an error ends it.

    Raises:
        FileExistsError: ``out`` has content.
    """
    out = Path(out)
    if has_content(out):
        raise FileExistsError(f"{out}: exists and is not empty")
    scratch = out.parent / f".{out.name}.part"
    shutil.rmtree(scratch, ignore_errors=True)  # a killed run may have left it
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if out.exists():
            out.rmdir()
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
