"""Ready detectors: a config of this package with published weights."""

import difflib
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from ..config_files import config_names, find_config
from ..weights.records import RECORDS, Record

LISTING = "shufflenet-det models lists the ready detectors"


def ready_detectors() -> dict[str, Record]:
    """The records of published detectors, by the name of their config."""
    configs = {name.rpartition("/")[2] for name in config_names()}
    return {
        alias: record
        for record in RECORDS
        for alias in (record.config.rpartition("/")[2], *record.aliases)
        if alias in configs
    }


def find_ready(name: str) -> tuple[str, Record] | None:
    """The config and record of a ready detector, by the name of either; None if unknown."""
    for config, record in ready_detectors().items():
        if name in (config, record.name):
            return config, record
    return None


def config_of(name: str) -> str | Path:
    """The path of a config. A name with ``mmdet::`` is returned as it is, for mmengine.

    Raises:
        FileNotFoundError: No config has this name; the message suggests similar names.
    """
    if "::" in name:
        return name
    try:
        return find_config(name)
    except FileNotFoundError as error:
        near = difflib.get_close_matches(name, ready_detectors())
        if not near:
            raise
        raise FileNotFoundError(
            f"no detector, config or file is named {name!r}: did you mean {' or '.join(near)}? "
            + LISTING
        ) from error


def weights_path(record: Record) -> Path:
    """The path of the weights of a ready detector in torch's cache."""
    from ..weights.files import cache_path

    return cache_path(record.url, record.file)


def fetch_weights(record: Record) -> Path:
    """Download the weights of a detector on first use, with a progress bar and a checksum.

    Raises:
        ConnectionError: The download failed; the message says where to put the file.
        ValueError: The downloaded file has another checksum.
    """
    from ..weights.files import download

    path = weights_path(record)
    if path.is_file():
        return path
    if not record.can_be_fetched:
        raise ConnectionError(
            f"the weights of {record.name} must be downloaded by hand: download {record.file} from "
            f"{record.url} to {path}, or pass its path as the checkpoint"
        )
    try:
        return download(record.url, record.digest, progress=True)
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise ConnectionError(
            f"could not download the weights of {record.name} ({error}): download {record.url} on "
            f"another machine and copy it to {path}, or pass its path as the checkpoint"
        ) from error
