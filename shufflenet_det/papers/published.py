"""The tables of both papers: COCO mAP, whose rows can be run, and complexities, counted again.

The papers are V1, arXiv:1707.01083v2 (CVPR 2018), and V2, arXiv:1807.11164 (ECCV 2018). No figure
here was measured by this project.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from .complexity import Part, backbone_complexity


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


# V1, Sec. 4.4, Table 7 (multiply-adds: Table 8): mAP at 300 and at 600 pixels. The table quotes
# MobileNet's own 16.4 and 19.8, too, which are of other images. V2, Sec. 4, Table 7: mAP and
# images/s at 40, 140, 300 and 500 M, rounded as the paper rounds them.
_V1 = (
    ("shufflenet_2x", "ShuffleNetV1 2x (g=3)", 524, 18.7, 25.0),
    ("shufflenet_1x", "ShuffleNetV1 1x (g=3)", 140, 14.5, 19.8),
    ("mobilenet", "MobileNetV1 1.0, by ShuffleNet's authors", 569, 14.9, 19.3),
)
_V2 = (
    ("xception", "Xception", (21.9, 29.0, 31.3, 32.9), (178, 131, 101, 83)),
    ("shufflenetv1", "ShuffleNetV1 (g=3)", (20.9, 27.0, 29.9, 32.9), (152, 85, 76, 60)),
    ("mobilenetv2", "MobileNetV2", (20.7, 24.4, 30.0, 30.6), (146, 111, 94, 72)),
    ("shufflenetv2", "ShuffleNetV2", (22.5, 29.0, 31.8, 33.3), (188, 146, 109, 87)),
    ("shufflenetv2star", "ShuffleNetV2*", (23.7, 29.6, 32.2, 34.2), (183, 138, 105, 83)),
)
_V2_COLUMNS = ((40, "0.5x"), (140, "1x"), (300, "1.5x"), (500, "2x"))  # widths of ShuffleNets

COCO_ROWS: dict[str, CocoRow] = {
    row.key: row
    for row in (
        *(
            CocoRow(f"v1/{key}_{size}", "Faster R-CNN", backbone, str(size), mAP, madds)
            for key, backbone, madds, *both in _V1
            for size, mAP in zip((300, 600), both, strict=True)
        ),
        *(
            CocoRow(
                f"v2/{key}_{width if 'ShuffleNet' in backbone else f'{madds}m'}",
                "Light-Head R-CNN",
                f"{backbone} {width}" if "ShuffleNet" in backbone else f"{backbone} {madds}M",
                "800x1200",
                mAP,
                madds,
                speed,
            )
            for key, backbone, mAPs, speeds in _V2
            for (madds, width), mAP, speed in zip(_V2_COLUMNS, mAPs, speeds, strict=True)
        ),
    )
}
"""The rows of both papers' COCO tables, by key."""


def find_rows(names: Iterable[str]) -> list[CocoRow]:
    """Rows of the COCO tables, each once, in the order of the tables.

    Args:
        names: Keys, or 'all'.

    Raises:
        ValueError: There is no such row; the nearest are named.
    """
    wanted = set[str]()
    for name in names:
        if name != "all" and name not in COCO_ROWS:
            near = get_close_matches(name, COCO_ROWS, n=3, cutoff=0.5)
            legal = (
                f"did you mean {' or '.join(near)}?" if near else f"rows are {', '.join(COCO_ROWS)}"
            )
            raise ValueError(f"there is no row {name!r}: {legal}")
        wanted |= set(COCO_ROWS) if name == "all" else {name}
    return [row for key, row in COCO_ROWS.items() if key in wanted]


MILLIONS = {"M": 1, "G": 1000}


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
    multiply_adds: str | None
    parameters: str | None = None
    classes: int | None = 1000
    remark: str = ""

    def counted(self) -> Part:
        """The same network's total, counted here."""
        return backbone_complexity(self.backbone, self.options, classes=self.classes)[-1]


def in_millions(printed: str) -> float:
    """'2.3G' is 2300."""
    return float(printed[:-1]) * MILLIONS[printed[-1]]


def agrees(counted: int, printed: str | None) -> bool | None:
    """Whether a count is rounded to what is printed: '2.3G' stands for 2.25e9 to 2.35e9."""
    if printed is None:
        return None
    last_digit = MILLIONS[printed[-1]] / 10 ** len(printed[:-1].partition(".")[2])
    return abs(counted / 1e6 - in_millions(printed)) <= last_digit / 2


def _rows(source: str, backbone: str, *rows: tuple[Any, ...], **common: Any) -> list[PaperRow]:
    """Of one table and class: network, options, multiply-adds, and what else there is."""
    shared = common.pop("options", {})
    return [
        PaperRow(source, network, backbone, {**shared, **options}, *figures, **common)
        for network, options, *figures in rows
    ]


# fmt: off
PAPERS: tuple[PaperRow, ...] = (
    *_rows(
        "V1, Table 1", "ShuffleNetV1",
        ("1x (g=1)", {"groups": 1}, "143M"),
        ("1x (g=2)", {"groups": 2}, "140M"),
        ("1x (g=3)", {"groups": 3}, "137M"),
        ("1x (g=4)", {"groups": 4}, "133M"),
        ("1x (g=8)", {"groups": 8}, "137M"),
        classes=None,
        remark="convolutions alone",
    ),
    *_rows("V1, Table 1", "ShuffleNetV1", ("1x (g=3)", {"groups": 3}, "137M")),
    *_rows(
        "V1, Table 5", "ShuffleNetV1",
        ("2x (g=3)", {"groups": 3, "widen_factor": 2.0}, "524M"),
        ("2x (with SE, g=3)", {"groups": 3, "widen_factor": 2.0, "se_reduction": 16}, "527M"),
        ("1.5x (g=3)", {"groups": 3, "widen_factor": 1.5}, "292M"),
        ("0.5x (g=4)", {"groups": 4, "widen_factor": 0.5}, "38M"),
    ),
    *_rows(
        "V1, Table 5", "ShuffleNetV1",
        ("1x (g=8)", {"groups": 8}, "140M"),
        remark="as Table 2 names all 1x; Table 1 has 137M",
    ),
    *_rows(
        "V1, Table 5", "MobileNetV1",
        ("1.0 MobileNet-224", {"widen_factor": 1.0}, "569M"),
        ("0.75 MobileNet-224", {"widen_factor": 0.75}, "325M"),
        ("0.5 MobileNet-224", {"widen_factor": 0.5}, "149M"),
        ("0.25 MobileNet-224", {"widen_factor": 0.25}, "41M"),
    ),
    *_rows(
        "V1, Table 8", "ShuffleNetV1",
        ("0.5x (g=3)", {"groups": 3, "widen_factor": 0.5}, "38M"),
    ),
    *_rows(
        "V2, Table 5", "ShuffleNetV2",
        ("0.5x", {"widen_factor": 0.5}, "41M", "1.4M", 1000,
         "40.53M with global pooling's additions"),
        ("1x", {"widen_factor": 1.0}, "146M", "2.3M"),
        ("1.5x", {"widen_factor": 1.5}, "299M", "3.5M"),
        ("2x", {"widen_factor": 2.0}, "591M", "7.4M"),
        options={"layout": "paper"},
    ),
    *_rows("V2, Table 6", "ShuffleNetV1", ("ShuffleNet v1-50", {"depth": 50}, "2.3G")),
    *_rows(
        "V2, Table 6", "ShuffleNetV2",
        ("ShuffleNet v2-50", {"depth": 50}, "2.3G"),
        ("SE-ShuffleNet v2-164", {"depth": 164, "residual": True, "se_reduction": 1}, "12.7G"),
        options={"layout": "paper"},
    ),
    *_rows(
        "V2, Table 8", "ShuffleNetV2",
        ("2x (with SE)", {"widen_factor": 2.0, "se_reduction": 1}, "597M"),
        options={"layout": "paper"},
    ),
    *_rows("V2, Table 8", "Xception", ("Xception 1x", {}, "145M")),
    *_rows(
        "V2, Sec. 4", "ShuffleNetV2",
        ("v2* 0.5x", {"widen_factor": 0.5}, None),
        ("v2* 1x", {"widen_factor": 1.0}, None),
        ("v2* 1.5x", {"widen_factor": 1.5}, None),
        ("v2* 2x", {"widen_factor": 2.0}, None),
        options={"layout": "paper", "extra_depthwise": True},
        remark="not published",
    ),
)
# fmt: on
"""Every network of the papers that can be built here and whose complexity they print; and V2*."""
