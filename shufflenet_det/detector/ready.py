"""The detectors that are ready to use: a config here and weights that somebody has published."""

import difflib
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from ..config_files import config_names, find_config
from ..weights.records import RECORDS, Record

LISTING = "shufflenet-det models lists the ready detectors"


def ready_detectors() -> dict[str, Record]:
    """The records of published detectors, by the names of the configs that build them."""
    configs = {name.rpartition("/")[2] for name in config_names()}
    return {
        alias: record
        for record in RECORDS
        for alias in (record.config.rpartition("/")[2], *record.aliases)
        if alias in configs
    }


def find_ready(name: str) -> tuple[str, Record] | None:
    """A ready detector's config and record, by the name of either; None if there is none."""
    for config, record in ready_detectors().items():
        if name in (config, record.name):
            return config, record
    return None


def config_of(name: str) -> str | Path:
    """The file of a config; ``mmdet::…`` stays, which mmengine finds in mmdet.

    Raises:
        FileNotFoundError: There is none; the message names what is near.
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
            f"no detector, config or file is called {name!r}: did you mean {' or '.join(near)}? "
            + LISTING
        ) from error


def weights_path(record: Record) -> Path:
    """Where the weights of a ready detector are, or would be: torch's cache."""
    from ..weights.files import cache_path

    return cache_path(record.url, record.file)


def fetch_weights(record: Record) -> Path:
    """The file with a detector's weights, downloaded on first use with a bar and a checksum.

    Raises:
        ConnectionError: It is not there and cannot be downloaded; the message says where to put it.
        ValueError: What came is another file.
    """
    from ..weights.files import download

    path = weights_path(record)
    if path.is_file():
        return path
    if not record.can_be_fetched:
        raise ConnectionError(
            f"the weights of {record.name} must be downloaded by hand: get {record.file} from "
            f"{record.url} and put it at {path}, or give its path as the checkpoint"
        )
    try:
        return download(record.url, record.digest, progress=True)
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise ConnectionError(
            f"could not download the weights of {record.name} ({error}): get {record.url} where "
            f"there is a network and put it at {path}, or give its path as the checkpoint"
        ) from error
