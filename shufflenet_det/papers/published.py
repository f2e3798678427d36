"""The tables of both papers, in ``published.json``: COCO mAP and complexities."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..config_files import find_config
from .complexity import Part, backbone_complexity

_TABLES = json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class CocoRow:
    """One row of V1's or V2's Table 7, of models trained on train2017 and tested on val2017.

    Attributes:
        key: What one types to name it; its config is ``configs/paper_KEY.py``.
        detector: Name of the detector.
        backbone: Name and width of its backbone.
        size: Pixels of the shorter side of an image, or of the shorter and the longer one at most.
        mAP: Average precision over IoU 0.5 to 0.95, %.
        backbone_multiply_adds: Millions, of the backbone for one image of 224x224.
        images_per_second: On a GTX 1080Ti, four images at a time; None: not published.
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
        """The file of its config."""
        return find_config(f"paper_{self.key}")


COCO_ROWS = {row["key"]: CocoRow(**row) for row in _TABLES["coco"]}
"""The rows of both papers' COCO tables, by key."""


def find_rows(names: Iterable[str]) -> list[CocoRow]:
    """Rows of the COCO tables by key, or 'all', each once and in the order of the tables.

    Raises:
        ValueError: There is no such row; the nearest are named.
    """
    wanted = set[str]()
    for name in names:
        if name != "all" and name not in COCO_ROWS:
            near = get_close_matches(name, COCO_ROWS, n=3, cutoff=0.5)
            listed = "`shufflenet-det papers list` lists them"
            legal = f"did you mean {' or '.join(near)}?" if near else listed
            raise ValueError(f"there is no row {name!r}: {legal}")
        wanted |= set(COCO_ROWS) if name == "all" else {name}
    return [row for key, row in COCO_ROWS.items() if key in wanted]


@dataclass(frozen=True)
class PaperRow:
    """One network whose complexity a paper gives, at 224x224 pixels.

    Attributes:
        source: Paper and table.
        network: As the paper calls it.
        backbone: The class here.
        options: Its arguments.
        multiply_adds: As printed, such as '143M' or '2.3G'; None: not published.
        parameters: As printed; None: not published.
        classes: Of the classifier that is counted with it; None: the convolutions alone.
        remark: What else there is to know.
    """

    source: str
    network: str
    backbone: str
    options: Mapping[str, Any]
    multiply_adds: str | None = None
    parameters: str | None = None
    classes: int | None = 1000
    remark: str = ""

    def counted(self) -> Part:
        """The same network's total, counted here."""
        return backbone_complexity(self.backbone, self.options, classes=self.classes)[-1]


PAPERS = tuple(PaperRow(**row) for row in _TABLES["complexity"])
"""Every network of the papers that can be built here and whose complexity they print; and V2*."""
_MILLIONS = {"M": 1, "G": 1000}


def in_millions(printed: str) -> float:
    """'2.3G' is 2300."""
    return float(printed[:-1]) * _MILLIONS[printed[-1]]


def agrees(counted: int, printed: str | None) -> bool | None:
    """Whether a count is rounded to what is printed: '2.3G' stands for 2.25e9 to 2.35e9."""
    if printed is None:
        return None
    last_digit = _MILLIONS[printed[-1]] / 10 ** len(printed[:-1].partition(".")[2])
    return abs(counted / 1e6 - in_millions(printed)) <= last_digit / 2
