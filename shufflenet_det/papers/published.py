"""The tables of both papers, from ``published.json``: COCO mAP and complexities."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..config_files import find_config

_TABLES = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))
_MILLIONS = {"M": 1, "G": 1000}


@dataclass(frozen=True)
class CocoRow:
    """One row of V1's or V2's Table 7: trained on train2017, tested on val2017.

    Attributes:
        key: Name of the row; its config is ``configs/paper_KEY.py``.
        detector: Name of the detector.
        backbone: Name and width of the backbone.
        size: Shorter side of the image in pixels, or the shorter side and the maximum longer side.
        mAP: Average precision over IoU 0.5 to 0.95, %.
        backbone_multiply_adds: Millions, of the backbone for one image of 224x224.
        images_per_second: On a GTX 1080Ti with batch size 4; None if not published.
    """

    key: str
    detector: str
    backbone: str
    size: str
    mAP: float
    backbone_multiply_adds: int
    images_per_second: int | None = None

    @property
    def paper(self) -> str:
        """``v1`` or ``v2``."""
        return self.key.partition("/")[0]

    @property
    def config(self) -> Path:
        """The config file."""
        return find_config(f"paper_{self.key}")


COCO_ROWS = {row["key"]: CocoRow(**row) for row in _TABLES["coco"]}
"""The rows of both papers' COCO tables, by key."""


def find_rows(names: Iterable[str]) -> list[CocoRow]:
    """The COCO rows with these keys ('all' for every row), in the order of the tables.

    Raises:
        ValueError: A row does not exist; the message suggests similar names.
    """
    wanted = set(names)
    for name in wanted - {"all", *COCO_ROWS}:
        near = get_close_matches(name, COCO_ROWS, n=3, cutoff=0.5)
        listed = "`shufflenet-det papers list` lists them"
        hint = f"did you mean {' or '.join(near)}?" if near else listed
        raise ValueError(f"there is no row {name!r}: {hint}")
    return [row for key, row in COCO_ROWS.items() if key in wanted or "all" in wanted]


@dataclass(frozen=True)
class PaperRow:
    """One network with the complexity that a paper gives for 224x224 pixels.

    Attributes:
        source: Paper and table.
        network: Name in the paper.
        backbone: Class of the backbone in this package.
        options: Arguments of the backbone.
        multiply_adds: As printed, such as '143M' or '2.3G'; None if not published.
        parameters: As printed; None if not published.
        classes: Classes of the classifier, which is counted too; None for convolutions alone.
        remark: Further facts about the figure.
    """

    source: str
    network: str
    backbone: str
    options: Mapping[str, Any]
    multiply_adds: str | None = None
    parameters: str | None = None
    classes: int | None = 1000
    remark: str = ""


PAPERS = tuple(PaperRow(**row) for row in _TABLES["complexity"])
"""The networks of both papers that have a published complexity and can be built here, and V2*."""


def in_millions(printed: str) -> float:
    """Convert a printed figure: '2.3G' is 2300."""
    return float(printed[:-1]) * _MILLIONS[printed[-1]]


def agrees(counted: int, printed: str | None) -> bool | None:
    """Whether a count rounds to the printed figure: '2.3G' stands for 2.25e9 to 2.35e9."""
    if printed is None:
        return None
    last_digit = _MILLIONS[printed[-1]] / 10 ** len(printed[:-1].partition(".")[2])
    return abs(counted / 1e6 - in_millions(printed)) <= last_digit / 2
