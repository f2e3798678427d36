"""Download COCO 2017, and raise a clear error if a data set is missing."""

import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from ..config_files import dicts_in
from .categories import read_facts
from .folders import has_content

_CHUNK = 1 << 20  # bytes
_TIMEOUT = 60  # seconds without a byte
_WAITS = (1, 2, 4, 8, 16, 32)  # seconds before each retry after a try without progress


class Archive(NamedTuple):
    """A zip file of COCO; it contains one folder, with the name of the part."""

    url: str
    size: int  # bytes
    md5: str
    files: int  # in the folder; 0: only ``needed`` is checked
    unpacked: int  # approximate size in bytes
    needed: Sequence[str] = ()


COCO_2017 = {part: Archive(**facts) for part, facts in read_facts()["archives"].items()}
"""The parts of COCO 2017 that detection needs, by the name of their folder."""


def download_coco(
    root: str | os.PathLike[str] = "data/coco",
    *,
    only: Iterable[str] | None = None,
    keep_archives: bool = False,
    archives: Mapping[str, Archive] = COCO_2017,
) -> Path:
    """Download COCO 2017, check its checksums and unpack it.

    Each part appears under ``root`` completely or not at all. Existing parts are not downloaded
    again. An interrupted download stays in ``root/NAME.part.zip`` and is resumed. An archive in
    ``root`` under its own name is used and never removed.

    Args:
        root: The folder for ``annotations``, ``train2017`` and ``val2017``; returned.
        only: The parts to download. None: all parts.
        keep_archives: Keep the zip files in ``root`` after unpacking.
        archives: The known parts, by the name of their folder.

    Raises:
        OSError, ValueError: The message says which part failed and what to do.
    """
    from torchvision.datasets.utils import check_md5, extract_archive

    parts = list(archives) if only is None else list(dict.fromkeys(only))
    for part in parts:
        if part not in archives:
            raise ValueError(f"unknown part {part!r}; there are {', '.join(archives)}")
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    missing = {part: archives[part] for part in parts if not _is_there(root / part, archives[part])}
    needed = sum(archive.size + archive.unpacked for archive in missing.values())
    if (free := shutil.disk_usage(root).free) < needed:
        raise OSError(
            f"COCO needs {needed / 1e9:.1f} GB in {str(root)!r}, where {free / 1e9:.1f} GB are "
            "free. Choose another folder, or fewer parts."
        )
    for part, archive in missing.items():
        own = root / archive.url.rpartition("/")[2]
        path = own if own.exists() else own.with_name(f"{own.stem}.part{own.suffix}")
        if path != own:
            _download(archive, path)
        if path.stat().st_size != archive.size or not check_md5(path, archive.md5):
            if path != own:
                path.unlink()
            raise ValueError(
                f"{str(path)!r} is not COCO's archive of {archive.size:,} bytes with the checksum "
                f"{archive.md5}. {'Remove it' if path == own else 'It was removed'}, and run the "
                "same command to download it again."
            )
        unpacked = root / f".{part}.unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        extract_archive(os.fspath(path), os.fspath(unpacked))
        try:
            if not _is_there(unpacked / part, archive):
                raise ValueError(f"{str(path)!r} holds no folder {part!r}: nothing was unpacked")
            (unpacked / part).rename(root / part)
        finally:
            shutil.rmtree(unpacked)
        if path != own:
            path.rename(own) if keep_archives else path.unlink()
    return root


def _is_there(folder: Path, archive: Archive) -> bool:
    """Whether a part exists and is complete."""
    if not folder.exists():
        return False
    found = {entry.name for entry in os.scandir(folder) if entry.is_file()}
    lacking = [name for name in archive.needed if name not in found]
    if lacking or len(found) < archive.files:
        what = f"without {lacking[0]}" if lacking else f"with {len(found):,} files"
        raise FileExistsError(
            f"{str(folder)!r} exists {what}; the complete part has "
            f"{', '.join(archive.needed) or format(archive.files, ',')}. Nothing was changed: move "
            "the folder away, or choose another folder."
        )
    return True


def _download(archive: Archive, path: Path) -> None:
    """Download an archive to ``path``; resume an earlier try."""
    failures = furthest = 0
    with tqdm(total=archive.size, unit="B", unit_scale=True, desc=path.stem, mininterval=1) as bar:
        while (have := path.stat().st_size if path.exists() else 0) != archive.size:
            try:
                _fetch(archive, path, have if have < archive.size else 0, bar)
            except (OSError, HTTPException) as error:
                if isinstance(error, _RefusedError):
                    raise
                failures = 0 if bar.n > furthest else failures + 1
                furthest = max(furthest, bar.n)
                if failures == len(_WAITS):
                    raise ConnectionError(
                        f"{archive.url} could not be downloaded: {error}. Run the same command to "
                        "resume the download."
                    ) from error
                time.sleep(_WAITS[failures])


class _RefusedError(ConnectionError):
    """The server refused the download; a retry would not help."""


def _fetch(archive: Archive, path: Path, have: int, bar: tqdm) -> None:
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={have}-"})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code < 500 and error.code not in (408, 425, 429):
            raise _RefusedError(f"{archive.url} is not available: {error}") from error
        raise
    with response:
        start = have if response.status == 206 else 0  # 200: the whole file
        length = int(response.headers.get("Content-Length", archive.size - start))
        # Check before writing: a login page must not replace the downloaded part.
        if start + length != archive.size:
            raise _RefusedError(
                f"{archive.url} has {start + length:,} bytes, but COCO's archive has "
                f"{archive.size:,}. Nothing was changed."
            )
        bar.n = start
        with open(path, "ab" if start else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if bar.n != archive.size:
        raise ConnectionError(f"the connection ended after {bar.n:,} bytes")


def require_dataset_files(dataset: Mapping[str, Any]) -> None:
    """Raise FileNotFoundError if the annotation file or the image folder of a config is missing.

    ``dataset`` is the one of a dataloader, and may be wrapped. URLs such as ``s3://…`` are not
    checked.
    """
    for one in dicts_in(dataset):
        if not one.get("ann_file"):
            continue
        names = one["ann_file"], (one.get("data_prefix") or {}).get("img", "")
        wanted = [os.path.join(one.get("data_root") or "", name) for name in names]
        absent = [path for path in wanted if "://" not in path and not has_content(Path(path))]
        if absent:
            raise FileNotFoundError(
                f"The data set was not found: {' and '.join(map(repr, absent))}. `shufflenet-det "
                "download-coco` downloads COCO 2017 (20 GB, and twice that on the disk) to "
                "data/coco or `--out`. For your own data, set `data_root`. `--demo` runs the same "
                "config on small synthetic data, without a download."
            )
