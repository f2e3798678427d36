"""Open checkpoint files without running code from them, and write them atomically."""

import hashlib
import json
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from filelock import FileLock
from mmengine.runner import CheckpointLoader
from safetensors.torch import save_file
from torch import Tensor

from ..host.checkpoints import check_growth, load_from_local
from ..host.local_files import atomic_write
from .records import find_record

# The keys of a state_dict in a checkpoint, averaged weights first. mmengine's ``ema_state_dict`` is
# not among them, because its ``state_dict`` is the average.
_CONTAINERS: tuple[str, ...] = (
    *("state_dict_ema", "model_ema", "ema"),
    *("state_dict", "model_state_dict", "model", "net", "network", "params", "weights"),
)
# The key of the network in the metadata of a state_dict or of a safetensors file.
_STATEMENT = "network"
_MOST_TENSORS = 50_000
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


@dataclass(frozen=True)
class Checkpoint:
    """The tensors and the metadata of a checkpoint."""

    name: str  # as the caller gave it
    tensors: dict[str, Tensor]  # its state_dict
    # {module: network}: the networks that a checkpoint of this package states; '': the root.
    stated: dict[str, dict[str, Any]] = field(default_factory=dict)


def open_checkpoint(name: str, key: str = "model.backbone.init_cfg") -> Checkpoint:
    """Open a checkpoint on the CPU with torch's safe loader.

    Args:
        name: Path, URL, name of a record (``shufflenet-det convert --list``), or a name of
            mmengine (``torchvision://…``). The file is PyTorch's, plain or alone in a zip file, or
            a safetensors file.
        key: The config's key for this checkpoint, for messages.

    Raises:
        FileNotFoundError: The file does not exist, or must be downloaded by hand.
        ConnectionError: The download failed.
        ValueError: The file is empty, truncated, altered, of another format, or names code.
    """
    path, record = Path(name).expanduser(), find_record(name)
    url = record.url if record else name
    if path.is_file():
        return _checkpoint(name, _open(path))
    if record and record.unreadable:
        raise ValueError(f"{name!r} cannot be loaded: {record.unreadable}")
    if record and not record.can_be_fetched:
        path = cache_path(url, record.file)
        if not path.is_file():
            raise FileNotFoundError(
                f"{name!r} must be downloaded by hand: get {record.file} from {url} and give its "
                f"path, or put it at {path}"
            )
        return _checkpoint(name, _open(path))
    if "://" not in url:
        raise FileNotFoundError(f"checkpoint {name!r} not found")
    try:
        if url.startswith(("http://", "https://", "file://")):
            return _checkpoint(name, _open(download(url, record.digest if record else "")))
        return _checkpoint(name, CheckpointLoader.load_checkpoint(url, "cpu", logger="silent"))
    except KeyError as error:
        raise FileNotFoundError(f"checkpoint {name!r}: mmengine has no such name") from error
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise ConnectionError(
            f"could not download {name!r} ({error}). Download the file on another machine and give "
            f"its path: --cfg-options {key}.checkpoint=PATH; or train from random weights: "
            f"--cfg-options {key}=None model.backbone.norm_eval=False"
        ) from error


def save_tensors(
    tensors: Mapping[str, Tensor], path: str | Path, statement: Mapping[str, Any]
) -> None:
    """Write a state_dict as ``.pth`` or ``.safetensors``, atomically.

    ``statement`` contains plain values. It becomes metadata, and :func:`open_checkpoint` returns it
    as ``stated[""]``.
    """
    path = Path(path).expanduser()
    if path.suffix not in (".pth", ".safetensors"):
        raise ValueError(f"{str(path)!r}: must end in .pth or .safetensors")
    state = OrderedDict((name, tensor.contiguous()) for name, tensor in tensors.items())
    with atomic_write(path) as partial:
        if path.suffix == ".safetensors":
            save_file(dict(state), partial, metadata={_STATEMENT: json.dumps(dict(statement))})
        else:
            of_root = {"version": 1, _STATEMENT: dict(statement)}
            state._metadata = OrderedDict({"": of_root})  # type: ignore[attr-defined]
            torch.save(state, partial)


def _checkpoint(name: str, content: Any) -> Checkpoint:
    state = _find_state(content)
    if state is None:
        raise ValueError(f"{name!r} holds no tensors by name")
    tensors = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if len(tensors) > _MOST_TENSORS:
        raise ValueError(f"{name!r} holds {len(tensors)} tensors, more than any network here has")
    for key, tensor in tensors.items():
        problem = _problem(tensor)
        if problem:
            raise ValueError(f"{name!r}: {key[:200]} {problem}; nothing was loaded")
    return Checkpoint(name, tensors, dict(_statements(content, state)))


def _statements(content: Any, state: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The networks that a checkpoint of this package states, by module."""
    of_file = content.get("metadata")
    text = of_file.get(_STATEMENT) if isinstance(of_file, Mapping) else None
    if isinstance(text, str):
        with suppress(ValueError):
            yield "", dict(json.loads(text))
    of_modules = getattr(state, "_metadata", None)
    for module, metadata in (of_modules if isinstance(of_modules, Mapping) else {}).items():
        statement = metadata.get(_STATEMENT) if isinstance(metadata, Mapping) else None
        if isinstance(module, str) and isinstance(statement, Mapping):
            yield module, dict(statement)


def _problem(tensor: Tensor) -> str:
    """Why a tensor cannot be a weight; empty if it can. A small file may declare a huge tensor."""
    if tensor.is_quantized or (tensor.ndim == 4 and tensor.dtype in _INTEGERS):
        return "is quantised, and these networks compute in floating point"
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return "is sparse or without data"
    if tensor.dtype not in _FLOATS + _INTEGERS:
        return f"is of {tensor.dtype}"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"has fewer numbers than its shape {tuple(tensor.shape)}"
    if tensor.is_floating_point() and not tensor.isfinite().all():
        return "is not finite (NaN or infinite): the file is damaged"
    return ""


def _find_state(content: Any, depth: int = 3) -> Mapping[str, Any] | None:
    if not isinstance(content, Mapping) or not depth:
        return None
    inner = (_find_state(content[key], depth - 1) for key in _CONTAINERS if key in content)
    state = next((state for state in inner if state is not None), None)
    if state is not None:
        return state
    by_name = any(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    return content if by_name else None


def _open(path: Path) -> Any:
    """The content of a file, or of the only file in a zip file."""
    if path.suffix in _NOT_PYTORCH:
        raise ValueError(f"{str(path)!r} was not opened: {_NOT_PYTORCH[path.suffix]}")
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, zipfile.BadZipFile):  # not a zip file, or a damaged one
        return load_from_local(str(path), "cpu")
    with archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        names = [name for name in names if not name.startswith("__MACOSX/")]
        if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
            return load_from_local(str(path), "cpu")  # PyTorch's own format
        if len(names) != 1:
            raise ValueError(
                f"{str(path)!r} was not opened: a zip file must hold one checkpoint, but this one "
                f"holds {len(names)} files"
            )
        try:
            check_growth(archive, path)
            with tempfile.TemporaryDirectory() as folder:
                return load_from_local(archive.extract(names[0], folder), "cpu")
        except Exception as error:  # damaged archives raise errors of any type
            raise ValueError(f"{names[0]!r} in {str(path)!r} was not opened: {error}") from error


_NOT_PYTORCH = {
    ".npz": "tensorpack's networks pad only at the bottom and on the right (TensorFlow's SAME), "
    "and no network here does",
    ".pdparams": "it is PaddlePaddle's; where Paddle is installed, convert it to PyTorch with "
    "torch.save({k: torch.as_tensor(v.numpy()) for k, v in paddle.load(FILE).items() "
    "if hasattr(v, 'numpy')}, 'FILE.pth')",
}


def _matches(path: Path, digest: str) -> bool:
    """Whether a file's digest starts with the published digest."""
    algorithm, _, published = digest.partition(":")
    return hashlib.new(algorithm, path.read_bytes()).hexdigest().startswith(published)


def cache_path(url: str, file: str = "") -> Path:
    """The path in torch's cache for a URL, or for the ``file`` that a page links.

    It starts with the URL's digest, because several URLs end in the same name.
    """
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    name = file or url.rstrip("/").rsplit("/", 1)[-1]
    return Path(torch.hub.get_dir()) / "checkpoints" / f"{key}-{name}"


def download(url: str, digest: str = "", *, progress: bool = False) -> Path:
    """Download a file into torch's cache, atomically; ``digest`` is that of its record.

    One process of a machine downloads, and the others wait. A file that torchvision or mmengine has
    already downloaded is used if its digest is right.

    Raises:
        URLError, TimeoutError, ConnectionError, HTTPException: The download failed.
        ValueError: The downloaded file has another digest.
    """
    path = cache_path(url)
    folder, name = path.parent, url.rstrip("/").rsplit("/", 1)[-1]
    shared = folder / name
    # The published digest of a zip file is that of the file inside.
    checked = digest if not name.endswith(".zip") else ""
    if checked and shared.is_file() and _matches(shared, checked):
        return shared
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{path.name.partition('-')[0]}.lock"):
        if not path.is_file():
            torch.hub.download_url_to_file(url, str(path), progress=progress)
            if checked and not _matches(path, checked):
                path.unlink()
                raise ValueError(
                    f"the file from {url} was deleted: its {checked.partition(':')[0]} does not "
                    f"start with the published {checked.partition(':')[2]}"
                )
    return path
