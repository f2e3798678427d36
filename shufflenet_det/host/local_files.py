"""Files that are written whole or not at all, and mmengine's among them.

mmengine writes checkpoints in place, so a run killed while it saves leaves half of one where
``--resume`` and ``save_best`` look for a whole one. Ends with an mmengine that renames.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

PARTIAL = ".shufflenet_det-*.part"  # a pattern of what a process that was killed leaves behind


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Let a file appear, or be replaced, when all of it is written, and be left alone if not.

    Args:
        path: Of the file; its folder is made. A link is followed, and an existing file keeps its
            permissions. What is no regular file (a pipe, ``/dev/stdout``) is written directly.

    Yields:
        The path to write to, in the same folder.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own length: with the file's in it, it could be longer than names may be.
    partial = path.parent / PARTIAL.replace("*", secrets.token_hex(8))
    try:
        yield partial
        if path.exists():
            shutil.copymode(path, partial)
        os.replace(partial, path)
    except OSError as error:
        if error.errno and error.filename is None:  # as a full disk does
            error.filename = os.fspath(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def install(module: ModuleType) -> None:
    """Let mmengine's ``put`` write to a temporary file and rename, for paths without a scheme."""

    class AtomicWriteBackend(module.LocalBackend):  # type: ignore[name-defined]
        def put(self, obj: bytes, filepath: str | Path) -> None:
            """Write ``obj`` to ``filepath``, which never holds a part of it."""
            with atomic_write(filepath) as partial:
                super().put(obj, partial)

    module.register_backend("local", AtomicWriteBackend, force=True, prefixes="")
