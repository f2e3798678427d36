"""Find shipped configs by name, and iterate over the dicts of a config."""

import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent


def config_folder() -> Path:
    """The folder of the shipped configs, in the installed package or in the checkout."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def config_names() -> list[str]:
    """The names of the shipped configs, such as ``paper_v2/shufflenetv2_1x``."""
    folder = config_folder()
    names = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py"))
    return sorted(name.as_posix() for name in names if not any(p[0] == "_" for p in name.parts))


def find_config(name: str | os.PathLike[str]) -> Path:
    """Find a config file.

    Args:
        name: A path, or the name of a shipped config such as ``faster_rcnn_shufflenet_coco`` or
            ``paper_v2/shufflenetv2_1x``. The folder is optional if the name is unique.
            ``configs/NAME.py`` also works.

    Raises:
        FileNotFoundError: No such file or name; the message suggests similar names.
        ValueError: Configs in several folders have this name.
    """
    if Path(name).is_file():
        return Path(name)
    wanted = os.fspath(name).replace(os.sep, "/").removeprefix("./").removeprefix("configs/")
    wanted = wanted.removesuffix(".py")
    names = config_names()
    found = [n for n in names if n == wanted] or [n for n in names if n.endswith(f"/{wanted}")]
    if len(found) > 1:
        raise ValueError(
            f"config {os.fspath(name)!r} is ambiguous: choose one of {', '.join(found)}"
        )
    if found:
        return config_folder() / f"{found[0]}.py"
    short = {n.rpartition("/")[2]: n for n in names} | {n: n for n in names}
    near = dict.fromkeys(short[n] for n in difflib.get_close_matches(wanted, short))
    hint = f"did you mean {' or '.join(near)}?" if near else "`shufflenet-det configs` lists them"
    raise FileNotFoundError(
        f"config {os.fspath(name)!r} is neither a file nor the name of a config; {hint}"
    )


def dicts_in(node: Any) -> Iterator[Any]:
    """All dicts in nested dicts, lists and tuples, the node itself first."""
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node
    for child in children if isinstance(node, dict | list | tuple) else ():
        yield from dicts_in(child)
