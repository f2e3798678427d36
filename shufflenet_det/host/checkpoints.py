"""Opens mmengine's own checkpoints with torch's safe loader.

torch loads with ``weights_only=True`` since 2.6, and a training checkpoint of mmengine names
classes that this loader does not know, so that neither ``--resume`` nor a test works
(https://github.com/open-mmlab/mmengine/issues/1655); files from a URL mmengine opens with the
check turned off. Here the check stays on, with an allow-list of exactly what mmengine writes. Ends
with an mmengine that does the same.
"""

import pickle
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.utils.dl_utils import load_url

_STATISTICS = ("min", "max", "current", "mean")


def install(module: ModuleType) -> None:
    """Extend torch's allow-list, keep the check on for URLs, and explain a refusal."""
    torch.serialization.add_safe_globals(_what_mmengine_writes())
    module.CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)
    module.load_url = partial(load_url, weights_only=True)  # type: ignore[attr-defined]


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Open a checkpoint file without running code from it.

    Args:
        filename: Path of the file; ``~`` is expanded.
        map_location: As in ``torch.load``.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file names code outside the allow-list, or is no whole checkpoint.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {filename!r} not found")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{filename!r} was not opened: it is no checkpoint, or loading it would run code "
            f"({_reason(error)})"
        ) from error
    except (EOFError, OSError, RuntimeError) as error:
        raise ValueError(
            f"{filename!r} was not opened: it is truncated or no checkpoint ({_reason(error)})"
        ) from error


def _reason(error: Exception) -> str:
    """The part of torch's message that names the offence, without its advice to run the code."""
    lines = [line.split("WeightsUnpickler error:")[-1].strip() for line in str(error).splitlines()]
    named = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (named or lines or [type(error).__name__])[0]


def _statistic(owner: Any, name: str) -> Any:
    """What ``builtins.getattr`` may do in a checkpoint: get a statistic of HistoryBuffer."""
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f"Unsupported getattr({owner!r}, {name!r})")


def _what_mmengine_writes() -> list[Any]:
    # How an array and a numpy scalar are rebuilt, under the names of numpy 1 and numpy 2.
    rebuilders = {
        "_reconstruct": np.empty(0).__reduce__()[0],
        "scalar": np.float64(0).__reduce__()[0],
    }
    aliases = [
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, function in rebuilders.items()
    ]
    dtypes = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")]
    return [
        HistoryBuffer,
        (_statistic, "builtins.getattr"),
        np.ndarray,
        np.dtype,
        *aliases,
        *dtypes,
    ]
