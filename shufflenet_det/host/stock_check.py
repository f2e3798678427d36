"""Runs :mod:`shufflenet_det.host.stock_configs` over the configs that mmdet's wheel ships."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from .stock_configs import module_types

# Families of configs that are not of 2-D detectors on their own.
OTHER_TASKS = (
    "bytetrack",
    "deepsort",
    "mask2former_vis",
    "masktrack_rcnn",
    "ocsort",
    "qdtrack",
    "reid",
    "sort",
    "strongsort",
)


def configs_folder() -> Path:
    """The folder of the stock configs, one sub-folder for each family.

    Raises:
        FileNotFoundError: mmdet is not installed, or came without its configs.
    """
    spec = find_spec("mmdet")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("mmdet is not installed")
    folder = Path(spec.origin).parent / ".mim" / "configs"
    if not folder.is_dir():
        raise FileNotFoundError(f"mmdet came without its configs: there is no {folder}")
    return folder


def all_configs() -> list[Path]:
    """Every stock config of a 2-D detector, by family, short names first."""
    return sorted(
        (
            path
            for path in configs_folder().glob("*/*.py")
            if path.parent.name not in ("_base_", "common", *OTHER_TASKS)
        ),
        key=lambda path: (path.parent.name, len(path.name), path.name),
    )


def representatives(configs: Iterable[Path]) -> list[Path]:
    """Of each family the config with most that no family before it has, and whatever adds a module.

    So every family, and every type of module in any model, is there at least once.
    """
    families: dict[str, dict[Path, set[str]]] = {}
    for path in configs:
        try:
            types = module_types(path)
        except Exception:  # trying it will say why
            types = set()
        families.setdefault(path.parent.name, {})[path] = types
    chosen: list[Path] = []
    seen: set[str] = set()
    for members in families.values():
        while True:
            best = max(members, key=lambda path: len(members[path] - seen))
            new = members.pop(best) - seen
            if not new and chosen and chosen[-1].parent == best.parent:
                break
            chosen.append(best)
            seen |= new
            if not members:
                break
    return chosen


def check(configs: Iterable[Path], timeout: float) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Try configs one after another in another process, which is started anew where it ends.

    Args:
        configs: Paths of configs.
        timeout: Seconds that one may take.

    Yields:
        A path, and ``outcome``, ``reason`` and ``seconds``.
    """
    worker = None
    for path in configs:
        if worker is None:
            worker = _Worker()
        answer = worker.ask(path, timeout)
        if answer is None:
            status = worker.stop()
            worker = None
            ended = f"the process ended with status {status}"
            reason = f"not done after {timeout:g} seconds" if status == -9 else ended
            answer = {"outcome": "fails", "reason": reason, "seconds": timeout}
        yield path, answer
    if worker is not None:
        worker.stop()


class _Worker:
    """The process that tries configs."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shufflenet_det.host.stock_configs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=[self.process.stdout], daemon=True).start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.answers.put(line)
        self.answers.put("")

    def ask(self, path: Path, timeout: float) -> dict[str, Any] | None:
        """The answer, or None if there is none in time or the process has ended."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{path}\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=timeout)
        except (BrokenPipeError, queue.Empty):
            return None
        return json.loads(line) if line else None

    def stop(self) -> int:
        """End the process, at once if it is at work, and return its status."""
        self.process.stdin.close()  # type: ignore[union-attr]
        try:
            return self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
