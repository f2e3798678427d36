"""``tools/analyze.py``: its output formats and its errors."""

import json

import pytest
from mmdet.registry import MODELS
from torch import nn

from shufflenet_det.papers import report
from shufflenet_det.papers.complexity import backbone_complexity
from shufflenet_det.papers.published import PAPERS

BACKBONE = ("--backbone", "ShuffleNetV2", "--backbone-options", "widen_factor=0.5", "layout=paper")
SSDLITE = "configs/ssdlite320_shufflenet_coco.py"


@pytest.fixture
def analyze(tool, capsys):
    """Run the program; returns its output."""

    def run(*arguments):
        capsys.readouterr()
        tool("analyze.py", *arguments)
        return capsys.readouterr().out

    return run


def read_markdown(text):
    """Title, header and rows of a Markdown table."""
    title, empty, header, rule, *lines = text.splitlines()
    assert empty == "" and set(rule) <= set("|:- ")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, *lines)]
    assert {len(row) for row in cells} == {rule.count("|") - 1}
    return title, *cells


def test_a_backbone_is_printed_in_three_formats(analyze):
    arguments = (*BACKBONE, "--classes", 1000, "--shape", 65, 97)
    printed = json.loads(analyze(*arguments, "--json"))
    options = {"widen_factor": 0.5, "layout": "paper"}
    parts = backbone_complexity("ShuffleNetV2", options, (65, 97), 1000)
    assert [part.name for part in parts][-2:] == ["classifier", "total"]
    for row, part in zip(printed["rows"], parts, strict=True):
        assert row["part"] == part.name
        assert round(row["parameters, M"] * 1e6) == part.parameters  # exactly
        assert round(row["multiply-adds, M"] * 1e6) == part.multiply_adds
    title, header, *rows = read_markdown(analyze(*arguments, "--markdown"))
    assert title == printed["title"] == "ShuffleNetV2(widen_factor=0.5, layout='paper') at 65x97"
    assert header == ["part", "parameters, M", "multiply-adds, M"]
    assert rows == [
        [part.name, f"{part.parameters / 1e6:.3f}", f"{part.multiply_adds / 1e6:.3f}"]
        for part in parts
    ]
    terminal = analyze(*arguments)
    assert terminal.startswith(f"{title}\n")
    assert all(cell in terminal for row in (header, *rows) for cell in row)


def test_the_papers_figures_are_compared_with_the_counts(analyze, monkeypatch):
    chosen = [r for r in PAPERS if "0.5x" in r.network or "v2-50" in r.network]
    monkeypatch.setattr(report, "PAPERS", chosen)
    printed = json.loads(analyze("--papers", "--json"))["rows"]
    for paper, row in zip(chosen, printed, strict=True):
        assert (row["source"], row["network"]) == (paper.source, paper.network)
        assert (row["printed"], row["printed parameters"]) == (
            paper.multiply_adds,
            paper.parameters,
        )
    _, _, *rows = read_markdown(analyze("--papers", "--markdown"))
    assert {row[1]: row[2:-1] for row in rows} == {
        "0.5x (g=4)": ["38M", "37.944", "-0.056", "yes", "", "0.778", ""],
        "0.5x (g=3)": ["38M", "37.590", "-0.410", "yes", "", "0.717", ""],
        "0.5x": ["41M", "40.476", "-0.524", "no", "1.4M", "1.366", "yes"],
        "ShuffleNet v2-50": ["2.3G", "2,314.702", "14.702", "yes", "", "16.576", ""],
        "v2* 0.5x": ["", "42.890", "", "", "", "1.375", ""],
    }


def test_a_config_is_counted_at_its_test_size(analyze, root):
    printed = json.loads(analyze(root / SSDLITE, "--json"))
    assert printed["title"].endswith(" at 320x320")
    assert printed == json.loads(analyze(root / SSDLITE, "--shape", 320, 320, "--json"))
    assert [row["part"] for row in printed["rows"]] == ["backbone", "neck", "bbox_head", "total"]


def test_stdout_has_only_the_result(analyze):
    @MODELS.register_module(force=True)
    class Talkative(nn.Conv2d):
        def __init__(self):
            print("built")
            super().__init__(3, 1, 1)

    try:
        printed = json.loads(analyze("--backbone", "Talkative", "--shape", 2, 2, "--json"))
    finally:
        MODELS.module_dict.pop("Talkative")
    assert printed["rows"][-1]["multiply-adds, M"] == 12 / 1e6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("no/such.py",), "no/such.py"),
        (("mmdet::no/such.py",), "no/such.py"),
        (("--backbone", "NoSuchNet"), "NoSuchNet"),
        (("--backbone", "ShuffleNetV2", "--backbone-options", "width=3"), "width"),
        (("--backbone", "ShuffleNetV2", "--backbone-options", "widen_factor=3"), "one of [0.5"),
        (("--backbone", "ShuffleNetV2", "--shape", "0", "224"), "(0, 224)"),
    ],
)
def test_mistakes_give_one_sentence(arguments, words, tool, capsys):
    with pytest.raises(SystemExit) as ended:
        tool("analyze.py", *arguments)
    assert ended.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("analyze.py: error: ") and words in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "required"),
        (("--papers", "--backbone", "ShuffleNetV2"), "not allowed with"),
        (("a.py", "--classes", 10), "--classes need --backbone"),
        (("--papers", "--shape", 9, 9), "leave out --shape"),
        (("--papers", "--json", "--markdown"), "not allowed with"),
        (("--backbone", "ShuffleNetV2", "--backbone-options", "widen_factor"), "KEY=VALUE"),
    ],
)
def test_arguments_that_cannot_be_combined_are_refused(arguments, words, tool, capsys):
    with pytest.raises(SystemExit) as ended:
        tool("analyze.py", *arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
