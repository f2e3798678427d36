"""What is known of published weights: the records of ``records.json``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .images import Images


@dataclass(frozen=True)
class Source:
    """Code that ShuffleNet weights were trained with, and what no shape shows of its networks.

    Attributes:
        title: The source, as a sentence names it.
        network: The class here that computes its weights.
        code: Where this was read.
        evidence: Regular expressions, each of which is found among a file's names.
        computes: The arguments of ``network`` that no shape shows.
        shuffle_last: V1: channels are shuffled after the depthwise convolution, not before it.
        pooled_last: V1: a concatenation puts the pooled input last, not first.
        weak: Other networks have such names as well: the backbone at hand may decide otherwise.
        act_cfg: The activation it is trained with.
        images: What it is trained on; None: unknown.
    """

    title: str
    network: str
    code: str = ""
    evidence: tuple[str, ...] = ()
    computes: Mapping[str, Any] = field(default_factory=dict)
    shuffle_last: bool = False
    pooled_last: bool = False
    weak: bool = False
    act_cfg: Mapping[str, Any] = field(default_factory=lambda: {"type": "ReLU"})
    images: Images | None = None


@dataclass(frozen=True)
class Record:
    """Published weights.

    Attributes:
        name: By which they can be asked for.
        url: Of the file, or of the page where people get it.
        licence: Of the code that it was published with.
        facts: Where this was read.
        kind: 'backbone' or 'detector'.
        source: Of a backbone: key of :data:`SOURCES`.
        network: Of a backbone: the class that computes it here, with ``arguments``.
        config: Of a detector: the name of the config that builds it.
        file: The file's name where ``url`` is a page.
        digest: What the file's digest begins with, such as ``sha256:5666bf0f80``; may be empty.
        metrics: As published, by name.
        aliases: Names that mmengine has for it.
        unreadable: Why it cannot be loaded; empty: it can.
        note: What else there is to know, and which of these facts are unverified.
        images: What it was trained on.
    """

    name: str
    url: str
    licence: str
    facts: str
    kind: str = "backbone"
    source: str = ""
    network: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    file: str = ""
    digest: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    unreadable: str = ""
    note: str = ""
    images: Images | None = None

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

    def source(row: dict[str, Any]) -> Source:
        evidence = tuple(row.pop("evidence"))
        return Source(**{**row, "evidence": evidence, "images": images.get(row["images"])})

    sources = {name: source(row) for name, row in data["sources"].items()}

    def record(row: dict[str, Any]) -> Record:
        of_source = sources[row["source"]].images if "source" in row else None
        row["images"] = images[row["images"]] if "images" in row else of_source
        return Record(**{**row, "aliases": tuple(row.get("aliases", ()))})

    return images, sources, tuple(map(record, data["records"]))


IMAGES, SOURCES, RECORDS = _read()
