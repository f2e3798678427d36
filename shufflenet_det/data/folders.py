"""Find the images of an annotation file, and write the folder of a data set atomically."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .annotations import Json, find_images, read_and_repair


def read_dataset(
    annotations: str | Path, images: str | Path | None = None
) -> tuple[Json, Path, list[str]]:
    """Read an annotation file and find its images; ``images`` is their folder, if known.

    Returns:
        The content, the folder that file names are relative to, and a sentence for each repair.
    """
    content, repairs = read_and_repair(annotations, images)
    return content, Path(images) if images else find_images(annotations, content), repairs


def has_content(path: Path) -> bool:
    """Whether a path is a file or a folder that is not empty."""
    return path.is_file() or (path.is_dir() and any(path.iterdir()))


@contextmanager
def whole_folder(out: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``out`` at the end, or removed after an error.

    Raises:
        FileExistsError: ``out`` exists and is not empty.
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
