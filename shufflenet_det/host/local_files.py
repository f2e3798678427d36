"""Files that are written whole or not at all, and mmengine's among them.

mmengine writes checkpoints in place, so a run killed while it saves leaves half of one where
``--resume`` and ``save_best`` look for a whole one. Ends with an mmengine that renames.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Let a file appear, or be replaced, when all of it is written, and be left alone if not.

    Args:
        path: Of the file; its folder is made.

    Yields:
        The path to write to, beside it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class WholeFilesBackend(LocalBackend):
    """mmengine's local backend, whose ``put`` writes beside the file and renames."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj`` to ``filepath``, which never holds a part of it."""
        with written_whole(filepath) as partial:
            super().put(obj, partial)


def install() -> None:
    """Use :class:`WholeFilesBackend` for paths without a scheme."""
    register_backend("local", WholeFilesBackend, force=True, prefixes="")
