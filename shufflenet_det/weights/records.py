"""The published weights, as recorded in ``records.json``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .images import Images


@dataclass(frozen=True)
class Source:
    """A code base that trains ShuffleNets, and the facts that no tensor's shape shows."""

    title: str  # its name in messages
    network: str  # the class here that has the same function
    code: str = ""  # where these facts were read
    evidence: tuple[str, ...] = ()  # regular expressions; each matches a tensor name of the file
    computes: Mapping[str, Any] = field(default_factory=dict)  # arguments that no shape shows
    shuffle_last: bool = False  # V1: the shuffle follows the depthwise convolution
    pooled_last: bool = False  # V1: the pooled input is concatenated last, not first
    weak: bool = False  # other code has such names too, so the backbone decides what is loaded
    act_cfg: Mapping[str, Any] = field(default_factory=lambda: {"type": "ReLU"})
    images: Images | None = None  # its preprocessing


@dataclass(frozen=True)
class Record:
    """Published weights of a backbone, or of a detector that the config named ``config`` builds."""

    name: str
    url: str  # of the file, or of the page that links it
    licence: str  # of the code that the weights were published with
    facts: str  # where these facts were read
    kind: str = "backbone"  # or 'detector'
    source: str = ""  # key of SOURCES
    network: str = ""  # the class here, with ``arguments``
    arguments: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    file: str = ""  # the file's name if ``url`` is a page
    digest: str = ""  # the beginning of the file's digest, such as ``sha256:5666bf0f80``
    metrics: Mapping[str, float] = field(default_factory=dict)  # as published
    aliases: tuple[str, ...] = ()  # mmengine's names
    unreadable: str = ""  # why it cannot be loaded
    note: str = ""  # facts that are unverified, and other remarks
    images: Images | None = None  # the preprocessing in training

    @property
    def can_be_fetched(self) -> bool:
        """Whether ``url`` is that of the file."""
        return not self.file


def find_record(name: str) -> Record | None:
    """The record with this name, URL or mmengine's name (``torchvision://…``), or None."""
    for record in RECORDS:
        if name in (record.name, *record.aliases) or (record.can_be_fetched and name == record.url):
            return record
    return None


def _read() -> tuple[dict[str, Images], dict[str, Source], tuple[Record, ...]]:
    data = json.loads((Path(__file__).parent / "records.json").read_text(encoding="utf-8"))
    images = {name: Images.of(stated) for name, stated in data["images"].items()}

    sources = {
        name: Source(
            **{**row, "evidence": tuple(row["evidence"]), "images": images.get(row["images"])}
        )
        for name, row in data["sources"].items()
    }
    for row in data["records"]:
        of_source = sources[row["source"]].images if "source" in row else None
        row["images"] = images[row["images"]] if "images" in row else of_source
        row["aliases"] = tuple(row.get("aliases", ()))
    return images, sources, tuple(Record(**row) for row in data["records"])


IMAGES, SOURCES, RECORDS = _read()
