"""Atomic writes, also for mmengine's files.

mmengine writes checkpoints in place, so a run that is killed while saving leaves a damaged
checkpoint. Remove :func:`install` when mmengine writes atomically.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

PARTIAL = ".shufflenet_det-*.part"  # pattern of the files that a killed process leaves behind


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Create or replace a file atomically: after an error, the old file is unchanged.

    Args:
        path: Path of the file. Its folder is created, links are followed, and an existing file
            keeps its permissions. A pipe or a device such as ``/dev/stdout`` is written directly.

    Yields:
        A temporary path in the same folder, to write to.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name does not contain the file's name, because the result could be too long.
    partial = path.parent / PARTIAL.replace("*", secrets.token_hex(8))
    try:
        yield partial
        if path.exists():
            shutil.copymode(path, partial)
        os.replace(partial, path)
    except OSError as error:
        if error.errno and error.filename is None:  # as on a full disk
            error.filename = os.fspath(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def install(module: ModuleType) -> None:
    """Patch ``mmengine.fileio``: ``put`` writes atomically for paths without a scheme."""

    class AtomicWriteBackend(module.LocalBackend):  # type: ignore[name-defined]
        def put(self, obj: bytes, filepath: str | Path) -> None:
            """Write ``obj`` to ``filepath`` atomically."""
            with atomic_write(filepath) as partial:
                super().put(obj, partial)

    module.register_backend("local", AtomicWriteBackend, force=True, prefixes="")
