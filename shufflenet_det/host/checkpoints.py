"""Opens mmengine's own checkpoints with torch's safe loader, and runs nothing of them.

torch loads with ``weights_only=True`` since 2.6, and a training checkpoint of mmengine names
classes that this loader does not know, so that neither ``--resume`` nor a test works
(https://github.com/open-mmlab/mmengine/issues/1655); files from a URL mmengine opens with the
check turned off. Here the check stays on, and the allow-list holds what mmengine's runner,
schedulers, optimisers and hooks write: numpy's arrays of fixed numeric types among it, rebuilt by
functions of this module, since numpy's own trust what they are given. mmengine also runs the text
of a config that a checkpoint holds; that is dropped or refused. Ends with an mmengine that does the
same.
"""

import math
import pickle
import re
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from safetensors import safe_open

_STATISTICS = ("min", "max", "current", "mean")
_ANNEALING = ("_annealing_cos", "_annealing_linear")
_NUMPY_TYPES = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|U[1-9]\d{0,3}")
# Weights hardly shrink when they are compressed; what grows tenfold is made to fill the memory.
_MOST_GROWTH = 10


class _Inert:
    """Stands for a class that a file names and that is not looked at."""


def install(module: ModuleType) -> None:
    """Change ``mmengine.runner.checkpoint``: every checkpoint is opened by this module's rules."""
    loader, load_url = module.CheckpointLoader, module.load_url  # type: ignore[attr-defined]
    loader.register_scheme(prefixes="", loader=load_from_local, force=True)
    load = loader.load_checkpoint.__func__

    def load_checkpoint(cls: type, filename: str, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint, without the config that ``Runner.resume`` would run.

        mmcv 1.x wrote it, and all that is read of it is the number of GPUs.
        """
        content = load(cls, filename, *args, **kwargs)
        if isinstance(content, dict) and isinstance(content.get("meta"), dict):
            content["meta"].pop("config", None)
        return content

    def load_url_safely(url: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return load_url(url, *args, **kwargs, weights_only=True)
        except OSError:  # of the network or the disk
            raise
        except Exception as error:
            raise _refused(url, error) from error

    loader.load_checkpoint = classmethod(load_checkpoint)
    module.load_url = load_url_safely  # type: ignore[attr-defined]


def refuse_own_config(module: ModuleType) -> None:
    """Change ``mmengine.infer.infer``: an inferencer would run a checkpoint's text as its config.

    A config of plain values is no safer: it names the functions that are called to build a model.
    """
    init_model = module.BaseInferencer._init_model

    def init_model_of_a_config(self: Any, cfg: Any, weights: Any, *args: Any) -> Any:
        if not cfg:
            raise ValueError(
                f"{weights!r}: give its config as well (model=CONFIG). The one that a checkpoint "
                "holds is code, and is not run"
            )
        return init_model(self, cfg, weights, *args)

    module.BaseInferencer._init_model = init_model_of_a_config


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Open a checkpoint file without running code from it.

    Returns:
        What the file holds; of a safetensors file ``state_dict`` and ``metadata``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file names code outside the allow-list, or is no whole checkpoint.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {filename!r} not found")
    try:
        if is_safetensors(path):
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}
                return {"state_dict": tensors, "metadata": file.metadata() or {}}
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_growth(archive, path)
        return torch.load(path, map_location=map_location, weights_only=True)
    except PermissionError:
        raise
    except Exception as error:  # damaged files break torch's readers in every way there is
        raise _refused(filename, error) from error


def is_safetensors(path: Path) -> bool:
    """Whether a file is of this form, whatever its name: a JSON header behind its length."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def check_growth(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse a small file that would fill the memory: torch itself does not compress."""
    size, unpacked = path.stat().st_size, sum(member.file_size for member in archive.infolist())
    if unpacked > _MOST_GROWTH * max(size, 100_000):
        raise ValueError(f"its {size} bytes would unpack to {unpacked}, which no weights do")


def _refused(name: str, error: Exception) -> ValueError:
    """One sentence, without torch's advice to run the code."""
    reason = str(error).split("WeightsUnpickler error:")[-1].strip().partition("\n")[0]
    reason = reason.partition(". ")[0].partition(" was not an allowed")[0][:200]
    if isinstance(error, pickle.UnpicklingError):
        if "weights_only" in reason or "WeightsUnpickler" not in str(error):
            reason = "unreadable"
        return ValueError(
            f"{name!r} was not opened: it is no checkpoint, or loading it would run code ({reason})"
        )
    return ValueError(
        f"{name!r} was not opened: it is damaged or no checkpoint ({type(error).__name__}: "
        f"{reason})"
    )


class _OneCycle(_Inert):
    """mmengine's scheduler, of which a checkpoint holds a static method."""


class _Dtype:
    """A type of numbers or strings, as numpy pickles it: a code, then a state with the byte order.

    Neither objects nor records: only the length of the data says how much memory is theirs.
    """

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if not isinstance(code, str) or not _NUMPY_TYPES.fullmatch(code):
            raise pickle.UnpicklingError("an array that is not of numbers or strings")
        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(x is not None for x in state[2:5]):
            raise pickle.UnpicklingError("an array of records")
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that takes its content once, if it has the length that shape and type give."""

    def __new__(cls) -> "_Array":
        return super().__new__(cls, (0,))

    def __setstate__(self, state: Any) -> None:
        if "filled" in vars(self):
            raise pickle.UnpicklingError("an array that is filled twice")
        _, shape, dtype, fortran, data = state
        value = _dtype_of(dtype)
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array without a shape")
        if type(data) is not bytes or len(data) != math.prod(shape) * value.itemsize:
            raise pickle.UnpicklingError("an array whose data do not fill its shape")
        super().__setstate__((1, shape, value, bool(fortran), data))  # type: ignore[arg-type]
        self.filled = True

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.asarray(self).__reduce_ex__(protocol)  # saved again as numpy's own


def _reconstruct(cls: Any, shape: Any, code: Any) -> _Array:
    if cls is not _Array:
        raise pickle.UnpicklingError("an array of another class")
    return _Array()


def _scalar(dtype: Any, data: Any) -> Any:
    value = _dtype_of(dtype)
    if type(data) is not bytes or len(data) != value.itemsize:
        raise pickle.UnpicklingError("a number whose data have another length")
    return np.frombuffer(data, value)[0]


def _dtype_of(dtype: Any) -> np.dtype:
    if type(dtype) is not _Dtype:
        raise pickle.UnpicklingError("an array without a type")
    return dtype.value


def _bytes() -> bytes:
    """How no bytes at all are pickled: the data of an empty array."""
    return b""


def _config_dict(content: Any) -> ConfigDict:
    config = ConfigDict()
    dict.update(config, content)  # whose own dicts are ConfigDicts already
    return config


def _getattr(owner: Any, name: Any) -> Any:
    """What ``builtins.getattr`` may get in a checkpoint."""
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(HistoryBuffer, name)
    if owner is _OneCycle and name in _ANNEALING:
        from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

        return getattr(OneCycleParamScheduler, name)
    # Not the owner: to print a list that holds itself often takes for ever.
    raise pickle.UnpicklingError("Unsupported getattr")


def _set_history(self: HistoryBuffer, state: Any) -> None:
    """``HistoryBuffer.__setstate__`` that takes data only; all histories share the functions."""
    HistoryBuffer.__init__(
        self,
        np.asarray(state["_log_history"]),  # type: ignore[arg-type]
        np.asarray(state["_count_history"]),  # type: ignore[arg-type]
        int(state["max_length"]),
    )


# For the whole process: mmdet's tools call ``torch.load`` themselves.
torch.serialization.add_safe_globals(
    [
        # Arrays and scalars, under the names of numpy 1 and numpy 2.
        *((_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
        *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
        (_Array, "numpy.ndarray"),
        (_Dtype, "numpy.dtype"),
        (_bytes, "builtins.bytes"),
        HistoryBuffer,
        (_config_dict, "mmengine.config.config.ConfigDict"),
        (_OneCycle, "mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler"),
        (_getattr, "builtins.getattr"),
        # NanoDet's published files have Lightning's class, not an instance, as a key next to the
        # weights; torchvision's training program keeps its arguments.
        (_Inert, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
        (_Inert, "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint"),
        (_Inert, "argparse.Namespace"),
    ]
)
HistoryBuffer.__setstate__ = _set_history
