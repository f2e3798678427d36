"""The complexities that the papers print, to be counted again.

The papers are V1, arXiv:1707.01083v2 (CVPR 2018), and V2, arXiv:1807.11164 (ECCV 2018).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .complexity import Part, backbone_complexity

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
        remark="as Table 2 calls all 1x; Table 1 has 137M",
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
