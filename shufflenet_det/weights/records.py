"""What is known of published weights: the records of ``records.json``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .images import Images


@dataclass(frozen=True)
class Source:
    """Code that ShuffleNet weights were trained with, and what no shape shows of its networks."""

    title: str  # as a sentence names it
    network: str  # the class here that computes its weights
    code: str = ""  # where this was read
    evidence: tuple[str, ...] = ()  # regular expressions, each found among a file's names
    computes: Mapping[str, Any] = field(default_factory=dict)  # arguments that no shape shows
    shuffle_last: bool = False  # V1: channels are shuffled behind the depthwise convolution
    pooled_last: bool = False  # V1: a concatenation puts the pooled input last, not first
    weak: bool = False  # other networks have such names too: the backbone at hand may decide
    act_cfg: Mapping[str, Any] = field(default_factory=lambda: {"type": "ReLU"})
    images: Images | None = None  # what it is trained on


@dataclass(frozen=True)
class Record:
    """Published weights. Of a detector, ``config`` is the name of the config that builds it."""

    name: str
    url: str  # of the file, or of the page where people get it
    licence: str  # of the code that it was published with
    facts: str  # where this was read
    kind: str = "backbone"  # or 'detector'
    source: str = ""  # key of SOURCES
    network: str = ""  # the class that computes it here, with ``arguments``
    arguments: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    file: str = ""  # the file's name where ``url`` is a page
    digest: str = ""  # what the file's begins with, such as ``sha256:5666bf0f80``
    metrics: Mapping[str, float] = field(default_factory=dict)  # as published
    aliases: tuple[str, ...] = ()  # mmengine's names
    unreadable: str = ""  # why it cannot be loaded
    note: str = ""  # which of these facts are unverified, and what else there is to know
    images: Images | None = None  # what it was trained on

    @property
    def can_be_fetched(self) -> bool:
        """Whether ``url`` is the file's own."""
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
