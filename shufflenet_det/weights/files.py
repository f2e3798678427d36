"""Opening checkpoint files without running code from them, and writing them whole."""

import errno
import hashlib
import json
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from filelock import FileLock
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..host.checkpoints import INERT, load_from_local
from ..host.local_files import atomic_write
from .records import find_record

# Where programs put a state_dict, the averaged weights first. mmengine's ``ema_state_dict`` is not
# among them: there ``state_dict`` holds the average.
_CONTAINERS: tuple[str, ...] = (
    *("state_dict_ema", "model_ema", "ema"),
    *("state_dict", "model_state_dict", "model", "net", "network", "params", "weights"),
)
# A state_dict's ``_metadata`` (and a safetensors file's) may say under this name what
# network it is.
_STATEMENT = "network"
_HEADER_BYTES = 8  # of a safetensors file: the length of its JSON header
# What an archive may unpack to, as a multiple of its size: floating-point numbers hardly shrink.
_MOST_UNPACKED = 20
_MOST_TENSORS = 50_000
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds of interest.

    Attributes:
        name: What it was asked for as.
        tensors: All tensors of its state_dict, by their names there.
        stated: What a file of this package says of the network below a prefix of names.
    """

    name: str
    tensors: dict[str, Tensor]
    stated: dict[str, dict[str, Any]] = field(default_factory=dict)


def open_checkpoint(name: str) -> Checkpoint:
    """Open a checkpoint on the CPU with torch's safe loader.

    Args:
        name: Path, URL, the name of a record (``--list`` of ``tools/convert_weights.py``), or
            what mmengine knows (``torchvision://…``). PyTorch's files, plain or alone in a zip
            file, and safetensors.

    Returns:
        Its tensors; the state_dict is found where programs put it.

    Raises:
        FileNotFoundError: There is no such file, or no program can fetch it.
        ConnectionError: It has to be downloaded and cannot be.
        ImportError: It is a safetensors file and that package is missing.
        ValueError: The file is empty, truncated, altered, of another kind, or names code.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return _checkpoint(name, *_open(path))
    record = find_record(name)
    if record is not None and record.unreadable:
        raise ValueError(f"{name!r} cannot be loaded: {record.unreadable}")
    if record is not None and not record.can_be_fetched:
        path = cache_path(record.url, record.file)
        if path.is_file():
            return _checkpoint(name, *_open(path))
        raise FileNotFoundError(
            f"{name!r}: no program can fetch this; get {record.file} from {record.url} and give "
            f"its path, or put it at {path}"
        )
    url = record.url if record is not None else name
    if "://" not in url:
        raise FileNotFoundError(f"checkpoint {name!r} not found")
    try:
        if url.startswith(("http://", "https://", "file://")):
            return _checkpoint(name, *_open(download(url, record.digest if record else "")))
        return _checkpoint(name, CheckpointLoader.load_checkpoint(url, "cpu", logger="silent"))
    except KeyError as error:
        raise FileNotFoundError(f"checkpoint {name!r}: mmengine knows no such name") from error
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise ConnectionError(
            f"could not download {name!r} ({error}). Get the file where there is a "
            "network and give its path: --cfg-options model.backbone.init_cfg.checkpoint=PATH; or "
            "train without pretrained weights: "
            "--cfg-options model.backbone.init_cfg=None model.backbone.norm_eval=False"
        ) from error


def save_tensors(
    tensors: Mapping[str, Tensor], path: str | Path, statement: Mapping[str, Any]
) -> None:
    """Write a plain state_dict, whole or not at all.

    Args:
        tensors: By name.
        path: ``.pth`` or ``.safetensors``; what is there is replaced.
        statement: What is to be known of their network, of plain values; it is written into
            the metadata and comes back as ``stated`` of the opened :class:`Checkpoint`.

    Raises:
        ImportError: A safetensors file is asked for and that package is missing.
        ValueError: Another ending.
    """
    path = Path(path).expanduser()
    state = OrderedDict((name, tensor.contiguous()) for name, tensor in tensors.items())
    write: Callable[[Path], None]
    if path.suffix == ".safetensors":
        save_file = _safetensors("writing", path).torch.save_file

        def write(to: Path) -> None:
            save_file(dict(state), to, metadata={_STATEMENT: json.dumps(dict(statement))})

    elif path.suffix == ".pth":
        metadata = OrderedDict({"": {"version": 1, _STATEMENT: dict(statement)}})
        state._metadata = metadata  # type: ignore[attr-defined]

        def write(to: Path) -> None:
            torch.save(state, to)

    else:
        raise ValueError(f"{str(path)!r}: must end in .pth or .safetensors")
    with atomic_write(path) as partial:
        write(partial)


def _checkpoint(name: str, content: Any, stated: dict[str, Any] | None = None) -> Checkpoint:
    state = _find_state(content)
    if state is None:
        raise ValueError(f"{name!r} holds no tensors by name")
    tensors = {k: v for k, v in state.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if len(tensors) > _MOST_TENSORS:
        raise ValueError(f"{name!r} holds {len(tensors)} tensors, which no network here has")
    for key, tensor in tensors.items():
        problem = _problem(tensor)
        if problem:
            raise ValueError(f"{name!r}: {key[:200]} {problem}; nothing was loaded")
    if stated is not None:
        return Checkpoint(name, tensors, {"": stated})
    of_modules = getattr(state, "_metadata", None)
    statements = {}
    for module, metadata in (of_modules if isinstance(of_modules, Mapping) else {}).items():
        statement = metadata.get(_STATEMENT) if isinstance(metadata, Mapping) else None
        if isinstance(module, str) and isinstance(statement, Mapping):
            statements[f"{module}." if module else ""] = dict(statement)
    return Checkpoint(name, tensors, statements)


def _problem(tensor: Tensor) -> str:
    """Why a tensor is no plain weights; empty: it is. Nothing large is made of a small file."""
    if tensor.is_quantized or (tensor.ndim == 4 and tensor.dtype in _INTEGERS):
        return "is quantised, and these networks compute in floating point"
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return "is sparse or without data"
    if tensor.dtype not in _FLOATS + _INTEGERS:
        return f"is of {tensor.dtype}"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"of shape {tuple(tensor.shape)} has fewer numbers than that"
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


def _open(path: Path, *, wrapped: bool = False) -> tuple[Any, dict[str, Any] | None]:
    """What a file holds, and what a safetensors file states."""
    if path.suffix in _NOT_PYTORCH:
        raise ValueError(f"{str(path)!r} was not opened: {_NOT_PYTORCH[path.suffix]}")
    if not path.stat().st_size:
        raise ValueError(f"{str(path)!r} was not opened: it is empty")
    try:
        member = _only_member(path) if zipfile.is_zipfile(path) else None
        if member is None:
            if is_safetensors(path):
                return _open_safetensors(path)
            with torch.serialization.safe_globals(INERT):
                return load_from_local(str(path), map_location="cpu"), None
        if wrapped:
            raise ValueError(f"{str(path)!r} was not opened: it is a zip file in a zip file")
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            try:
                return _open(Path(archive.extract(member, folder)), wrapped=True)
            except ValueError as error:
                raise ValueError(f"in {str(path)!r}: {error}") from error
    except Exception as error:  # broken files break the readers in every way there is
        # A broken zip file makes Python seek to where no file can begin: EINVAL.
        of_the_disk = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
        if of_the_disk or isinstance(error, ImportError) or str(path) in str(error):
            raise
        raise ValueError(
            f"{str(path)!r} was not opened: it is damaged or no checkpoint "
            f"({type(error).__name__}: {error})"
        ) from error


_NOT_PYTORCH = {
    ".npz": "tensorpack's networks pad at the bottom and on the right only (TensorFlow's SAME), "
    "which no PyTorch network here computes",
    ".pdparams": "it is PaddlePaddle's; where Paddle is installed, turn it into PyTorch's with "
    "torch.save({k: torch.as_tensor(v.numpy()) for k, v in paddle.load(FILE).items() "
    "if hasattr(v, 'numpy')}, 'FILE.pth')",
}


def _only_member(path: Path) -> str | None:
    """The one file that a zip file wraps; None if it is PyTorch's own format."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > _MOST_UNPACKED * max(path.stat().st_size, 1_000_000):
        raise ValueError(
            f"{str(path)!r} was not opened: its {path.stat().st_size} bytes would unpack to "
            f"{unpacked}, which no weights do"
        )
    names = [name for name in names if not name.startswith("__MACOSX/")]
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return None
    if len(names) != 1:
        raise ValueError(
            f"{str(path)!r} was not opened: a zip file must hold one checkpoint, and this one "
            f"holds {len(names)} files"
        )
    return names[0]


def _open_safetensors(path: Path) -> tuple[Any, dict[str, Any] | None]:
    with _safetensors("reading", path).safe_open(str(path), framework="pt") as file:
        names = list(file.keys())
        if len(names) > _MOST_TENSORS:
            raise ValueError(f"{str(path)!r} was not opened: it lists {len(names)} tensors")
        tensors = {name: file.get_tensor(name) for name in names}
        statement = json.loads((file.metadata() or {}).get(_STATEMENT, "{}"))
    return tensors, statement if isinstance(statement, dict) else {}


def _safetensors(doing: str, path: Path) -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            f"{doing} {str(path)!r} needs the package safetensors: pip install safetensors"
        ) from error
    return safetensors


def _matches(path: Path, digest: str) -> bool:
    """Whether a file's digest begins with the published one."""
    algorithm, _, published = digest.partition(":")
    return hashlib.new(algorithm, path.read_bytes()).hexdigest().startswith(published)


def is_safetensors(path: Path) -> bool:
    """Whether a file is of this form, whatever its name."""
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES + 1)[_HEADER_BYTES:] == b"{"


def cache_path(url: str, file: str = "") -> Path:
    """Where torch's cache keeps what a URL gives, a page's ``file`` too.

    Other URLs end in the same name, so the URL's digest goes before it.
    """
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    name = file or url.rstrip("/").rsplit("/", 1)[-1]
    return Path(torch.hub.get_dir()) / "checkpoints" / f"{key}-{name}"


def download(url: str, digest: str = "", *, progress: bool = False) -> Path:
    """Fetch a file into torch's cache, whole or not at all.

    One process of a machine downloads, the others wait for it. A published file that is in the
    cache already, by torchvision's or mmengine's doing, is taken.

    Args:
        url: Of the file.
        digest: What the file's digest begins with, such as ``sha256:5666bf0f80``; may be empty.
        progress: Show a bar.

    Returns:
        The file.

    Raises:
        URLError, TimeoutError, ConnectionError, HTTPException: It cannot be downloaded.
        ValueError: What came has another digest.
    """
    path = cache_path(url)
    folder, name = path.parent, url.rstrip("/").rsplit("/", 1)[-1]
    shared = folder / name
    # Of a zip file, the published digest is that of the file inside.
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
                    f"what {url} gave was not kept: its {checked.partition(':')[0]} does not begin "
                    f"with the published {checked.partition(':')[2]}"
                )
    return path
