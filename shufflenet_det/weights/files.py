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
from mmengine.dist import barrier, get_local_rank
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..host.checkpoints import INERT, load_from_local
from ..host.local_files import written_whole
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
    if record is not None and not record.can_be_fetched:
        raise FileNotFoundError(
            f"{name!r}: no program can fetch this; get {record.file} from {record.url} and give "
            "its path"
        )
    url = record.url if record is not None else name
    if "://" not in url:
        raise FileNotFoundError(f"checkpoint {name!r} not found")
    try:
        if url.startswith(("http://", "https://", "file://")):
            return _checkpoint(name, *_open(_download(url)))
        return _checkpoint(name, CheckpointLoader.load_checkpoint(url, "cpu", logger="silent"))
    except KeyError as error:
        raise FileNotFoundError(f"checkpoint {name!r}: mmengine knows no such name") from error
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise ConnectionError(
            f"could not download {name!r} ({error}). Get the file where there is a "
            "network and give its path: --cfg-options model.backbone.init_cfg.checkpoint=PATH "
            "(tools/reproduce.py: --weights PATH); or train without pretrained weights: "
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
    with written_whole(path) as partial:
        write(partial)


def _checkpoint(name: str, content: Any, stated: dict[str, Any] | None = None) -> Checkpoint:
    state = _find_state(content)
    if state is None:
        raise ValueError(f"{name!r} holds no tensors by name")
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if stated is not None:
        return Checkpoint(name, tensors, {"": stated})
    of_modules = getattr(state, "_metadata", {})
    return Checkpoint(
        name,
        tensors,
        {
            f"{module}." if module else "": dict(metadata[_STATEMENT])
            for module, metadata in of_modules.items()
            if isinstance(metadata, Mapping) and isinstance(metadata.get(_STATEMENT), Mapping)
        },
    )


def _find_state(content: Any, depth: int = 3) -> Mapping[str, Any] | None:
    if not isinstance(content, Mapping) or not depth:
        return None
    inner = (_find_state(content[key], depth - 1) for key in _CONTAINERS if key in content)
    state = next((state for state in inner if state is not None), None)
    if state is not None:
        return state
    by_name = any(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    return content if by_name else None


def _open(path: Path) -> tuple[Any, dict[str, Any] | None]:
    """What a file holds, and what a safetensors file states."""
    if path.suffix in _NOT_PYTORCH:
        raise ValueError(f"{str(path)!r} was not opened: {_NOT_PYTORCH[path.suffix]}")
    if not path.stat().st_size:
        raise ValueError(f"{str(path)!r} was not opened: it is empty")
    try:
        member = _only_member(path) if zipfile.is_zipfile(path) else None
        if member is None:
            _check_digest(path)
            if _is_safetensors(path):
                return _open_safetensors(path)
            with torch.serialization.safe_globals(INERT):
                return load_from_local(str(path), map_location="cpu"), None
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            try:
                return _open(Path(archive.extract(member, folder)))
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
    names = [name for name in names if not name.startswith("__MACOSX/")]
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return None
    if len(names) != 1:
        raise ValueError(
            f"{str(path)!r} was not opened: a zip file must hold one checkpoint, and this one "
            f"holds {len(names)} files"
        )
    return names[0]


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES + 1)[_HEADER_BYTES:] == b"{"


def _open_safetensors(path: Path) -> tuple[Any, dict[str, Any] | None]:
    with _safetensors("reading", path).safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        statement = (file.metadata() or {}).get(_STATEMENT)
    return tensors, statement and dict(json.loads(statement))


def _safetensors(doing: str, path: Path) -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            f"{doing} {str(path)!r} needs the package safetensors: pip install safetensors"
        ) from error
    return safetensors


def _check_digest(path: Path) -> None:
    """Compare a published file's content with the digest that its name carries."""
    record = find_record(path.name)
    if record is None or not record.digest:
        return
    algorithm, _, published = record.digest.partition(":")
    actual = hashlib.new(algorithm, path.read_bytes()).hexdigest()
    if not actual.startswith(published):
        raise ValueError(
            f"{str(path)!r} was not opened: it is called as the published {record.name}, whose "
            f"{algorithm} begins with {published}, and its own with {actual[: len(published)]}; "
            "it is truncated or another file: fetch it again or give it another name"
        )


def _download(url: str) -> Path:
    """Fetch a file into torch's cache, in one process of a machine; whole or not at all."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rstrip("/").rsplit("/", 1)[-1]
    if get_local_rank() == 0 and not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    barrier()
    return path
