"""Load mmengine's checkpoints with torch's safe loader, so that no code in them is executed.

Since version 2.6, torch loads with ``weights_only=True``. Training checkpoints of mmengine contain
classes that this loader rejects, so ``--resume`` and testing fail
(https://github.com/open-mmlab/mmengine/issues/1655). For a URL, mmengine disables the check.

This module keeps the check and allows the classes that mmengine's runner, schedulers, optimizers
and hooks save. Numpy arrays are rebuilt by functions of this module, because numpy's own functions
do not validate their arguments. mmengine also executes the config text in a checkpoint; this module
removes or refuses the text. Remove the module when mmengine does the same.
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
# Weights hardly compress. A file that unpacks to ten times its size is meant to fill the memory.
_MAX_GROWTH = 10


class _Inert:
    """A placeholder for classes that checkpoints contain and nothing reads."""


def install(module: ModuleType) -> None:
    """Patch ``mmengine.runner.checkpoint`` to load all checkpoints safely."""
    loader, load_url = module.CheckpointLoader, module.load_url  # type: ignore[attr-defined]
    loader.register_scheme(prefixes="", loader=load_from_local, force=True)
    load = loader.load_checkpoint.__func__

    def load_checkpoint(cls: type, filename: str, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint without the config text, which ``Runner.resume`` would execute.

        mmcv 1.x wrote this text, and mmengine only reads the number of GPUs from it.
        """
        content = load(cls, filename, *args, **kwargs)
        if isinstance(content, dict) and isinstance(content.get("meta"), dict):
            content["meta"].pop("config", None)
        return content

    def load_url_safely(url: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return load_url(url, *args, **kwargs, weights_only=True)
        except OSError:  # a problem of the network or the disk
            raise
        except Exception as error:
            raise _refused(url, error) from error

    loader.load_checkpoint = classmethod(load_checkpoint)
    module.load_url = load_url_safely  # type: ignore[attr-defined]


def refuse_own_config(module: ModuleType) -> None:
    """Patch ``mmengine.infer.infer`` to refuse the config text in a checkpoint, which is code.

    Even a config of plain values is unsafe, because it names the functions that build the model.
    """
    init_model = module.BaseInferencer._init_model

    def init_model_of_a_config(self: Any, cfg: Any, weights: Any, *args: Any) -> Any:
        if not cfg:
            raise ValueError(
                f"{weights!r}: give the config as well (model=CONFIG). The config inside a "
                "checkpoint is code and is not executed"
            )
        return init_model(self, cfg, weights, *args)

    module.BaseInferencer._init_model = init_model_of_a_config


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a checkpoint file without executing code in it.

    Returns:
        The content of the file; for a safetensors file ``state_dict`` and ``metadata``.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file contains a class outside the allow-list, or is damaged.
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
    except Exception as error:  # damaged files raise errors of many types
        raise _refused(filename, error) from error


def is_safetensors(path: Path) -> bool:
    """Whether a file has the safetensors format: a JSON header after its length."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def check_growth(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse a small file that would fill the memory; torch itself does not compress."""
    size, unpacked = path.stat().st_size, sum(member.file_size for member in archive.infolist())
    if unpacked > _MAX_GROWTH * max(size, 100_000):
        raise ValueError(f"its {size} bytes would unpack to {unpacked}, too many for weights")


def _refused(name: str, error: Exception) -> ValueError:
    """The error in one sentence, without torch's advice to disable the check."""
    reason = str(error).split("WeightsUnpickler error:")[-1].strip().partition("\n")[0]
    reason = reason.partition(". ")[0].partition(" was not an allowed")[0][:200]
    if isinstance(error, pickle.UnpicklingError):
        if "weights_only" in reason or "WeightsUnpickler" not in str(error):
            reason = "unreadable"
        return ValueError(
            f"{name!r} was not opened: not a checkpoint, or loading it would run code ({reason})"
        )
    return ValueError(
        f"{name!r} was not opened: damaged or not a checkpoint ({type(error).__name__}: {reason})"
    )


class _OneCycle(_Inert):
    """A placeholder for mmengine's scheduler; checkpoints contain a static method of it."""


class _Dtype:
    """A numpy dtype of numbers or strings, pickled as a code and a state with the byte order.

    Objects and records are refused: for other types, the length of the data is the memory they use.
    """

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if not isinstance(code, str) or not _NUMPY_TYPES.fullmatch(code):
            raise pickle.UnpicklingError("an array of neither numbers nor strings")
        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(x is not None for x in state[2:5]):
            raise pickle.UnpicklingError("an array of records")
        if state[1] in ("<", ">"):
            self.value = self.value.newbyteorder(state[1])


class _Array(np.ndarray):
    """An array that is filled once, with data of the length that its shape and dtype require."""

    def __new__(cls) -> "_Array":
        return super().__new__(cls, (0,))

    def __setstate__(self, state: Any) -> None:
        if "filled" in vars(self):
            raise pickle.UnpicklingError("an array filled twice")
        _, shape, dtype, fortran, data = state
        value = _dtype_of(dtype)
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise pickle.UnpicklingError("an array without a shape")
        if type(data) is not bytes or len(data) != math.prod(shape) * value.itemsize:
            raise pickle.UnpicklingError("an array whose data does not fit its shape")
        super().__setstate__((1, shape, value, bool(fortran), data))  # type: ignore[arg-type]
        self.filled = True

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.asarray(self).__reduce_ex__(protocol)  # pickled again as a plain array


def _reconstruct(cls: Any, shape: Any, code: Any) -> _Array:
    if cls is not _Array:
        raise pickle.UnpicklingError("an array of another class")
    return _Array()


def _scalar(dtype: Any, data: Any) -> Any:
    value = _dtype_of(dtype)
    if type(data) is not bytes or len(data) != value.itemsize:
        raise pickle.UnpicklingError("a number whose data has the wrong length")
    return np.frombuffer(data, value)[0]


def _dtype_of(dtype: Any) -> np.dtype:
    if type(dtype) is not _Dtype:
        raise pickle.UnpicklingError("an array without a dtype")
    return dtype.value


def _bytes() -> bytes:
    """The call that pickle writes for the data of an empty array."""
    return b""


def _config_dict(content: Any) -> ConfigDict:
    config = ConfigDict()
    dict.update(config, content)  # nested dicts are ConfigDicts already
    return config


def _getattr(owner: Any, name: Any) -> Any:
    """A ``builtins.getattr`` that only returns the attributes that checkpoints need."""
    if owner is HistoryBuffer and name in _STATISTICS:
        return getattr(HistoryBuffer, name)
    if owner is _OneCycle and name in _ANNEALING:
        from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

        return getattr(OneCycleParamScheduler, name)
    # The message omits the owner: printing a list that contains itself can take forever.
    raise pickle.UnpicklingError("Unsupported getattr")


def _set_history(self: HistoryBuffer, state: Any) -> None:
    """A ``HistoryBuffer.__setstate__`` that takes only data, not functions."""
    HistoryBuffer.__init__(
        self,
        np.asarray(state["_log_history"]),  # type: ignore[arg-type]
        np.asarray(state["_count_history"]),  # type: ignore[arg-type]
        int(state["max_length"]),
    )


# The list is global because mmdet's tools call ``torch.load`` themselves.
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
        # NanoDet's published files have a class of Lightning as a key beside the weights;
        # torchvision's training script saves its arguments.
        (_Inert, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
        (_Inert, "lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint"),
        (_Inert, "argparse.Namespace"),
    ]
)
HistoryBuffer.__setstate__ = _set_history
