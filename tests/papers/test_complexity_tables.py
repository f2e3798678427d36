"""The papers' complexity tables, row by row: the printed figures against our counts."""

import pytest

from shufflenet_det.papers.complexity import backbone_complexity
from shufflenet_det.papers.published import PAPERS, agrees, in_millions

PRINTED = [row for row in PAPERS if row.multiply_adds]
BEYOND_ROUNDING = {("V1, Table 5", "1x (g=8)"), ("V2, Table 5", "0.5x")}


def name(row):
    return row.source, row.network


def count(row):
    return backbone_complexity(row.backbone, row.options, classes=row.classes)[-1]


@pytest.mark.parametrize("row", PRINTED, ids=lambda row: f"{row.source} {row.network}")
def test_counts_are_rounded_to_what_is_printed(row):
    counted = count(row)
    assert agrees(counted.multiply_adds, row.multiply_adds) == (name(row) not in BEYOND_ROUNDING)
    assert agrees(counted.parameters, row.parameters) is (True if row.parameters else None)


def test_the_two_exceptions_are_explained():
    """Each rounds to a figure next to the printed one."""
    rows = {name(row): row for row in PRINTED}
    v1 = count(rows["V1, Table 5", "1x (g=8)"]).multiply_adds
    assert agrees(v1 - 1536 * 1000, "137M")  # Table 1, without the classifier
    v2 = count(rows["V2, Table 5", "0.5x"]).multiply_adds
    assert agrees(v2 + 1024 * 7**2, "41M")  # with global pooling's additions
    assert agrees(v2, "40M")


def test_the_tables_are_as_printed():
    """Against a second transcription, by table and backbone."""
    figures = {}
    for row in PRINTED:
        figures.setdefault((row.source, row.backbone), []).append(row.multiply_adds)
    assert figures == {
        ("V1, Table 1", "ShuffleNetV1"): ["143M", "140M", "137M", "133M", "137M", "137M"],
        ("V1, Table 5", "ShuffleNetV1"): ["524M", "527M", "292M", "38M", "140M"],
        ("V1, Table 5", "MobileNetV1"): ["569M", "325M", "149M", "41M"],
        ("V1, Table 8", "ShuffleNetV1"): ["38M"],
        ("V2, Table 5", "ShuffleNetV2"): ["41M", "146M", "299M", "591M"],
        ("V2, Table 6", "ShuffleNetV1"): ["2.3G"],
        ("V2, Table 6", "ShuffleNetV2"): ["2.3G", "12.7G"],
        ("V2, Table 8", "ShuffleNetV2"): ["597M"],
        ("V2, Table 8", "Xception"): ["145M"],
    }
    assert [row.parameters for row in PAPERS if row.parameters] == ["1.4M", "2.3M", "3.5M", "7.4M"]


def test_v2_star_is_listed_without_published_figures():
    rows = [row for row in PAPERS if row.multiply_adds is None]
    assert [row.options["widen_factor"] for row in rows] == [0.5, 1.0, 1.5, 2.0]
    for row in rows:
        assert row.remark == "not published"
        assert row.options["layout"] == "paper" and row.options["extra_depthwise"]


@pytest.mark.parametrize(
    ("printed", "inside", "outside"),
    [
        ("143M", (142_500_000, 143_500_000), (142_499_999, 143_500_001)),
        ("1.4M", (1_351_000, 1_449_000), (1_349_000, 1_451_000)),
        ("2.3G", (2_260_000_000, 2_340_000_000), (2_240_000_000, 2_360_000_000)),
    ],
)
def test_rounding_is_to_the_last_printed_digit(printed, inside, outside):
    assert all(agrees(number, printed) for number in inside)
    assert not any(agrees(number, printed) for number in outside)


def test_figures_are_read_in_millions():
    assert [in_millions(printed) for printed in ("143M", "1.4M", "12.7G")] == [143, 1.4, 12700]
