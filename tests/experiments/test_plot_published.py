"""The figure of published results and the table behind it, as the program writes them."""

import re
from collections import Counter
from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image

from shufflenet_det.experiments import PUBLISHED, markdown_table, plot_published
from shufflenet_det.experiments.plots import draw_published

COSTS = ("backbone_multiply_adds", "multiply_adds")  # of the panels, from the left
GREY = "#808080"


@pytest.fixture(scope="module")
def figure():
    """Drawn, so that every text has its place."""
    figure = draw_published()
    FigureCanvasAgg(figure).draw()
    return figure


def points(lines):
    return Counter(
        (round(cost / 1e6, 6), mAP) for line in lines for cost, mAP in line.get_xydata().tolist()
    )


def expected(cost, **conditions):
    return Counter(
        (getattr(result, cost), result.mAP)
        for result in PUBLISHED
        if getattr(result, cost) is not None
        and all(getattr(result, name) == value for name, value in conditions.items())
    )


@pytest.mark.parametrize("panel", [0, 1])
def test_a_panel_has_every_result_of_its_cost_once_and_no_other(figure, panel):
    assert points(figure.axes[panel].lines) == expected(COSTS[panel])


@pytest.mark.parametrize("panel", [0, 1])
def test_the_shufflenets_stand_out(figure, panel):
    lines = figure.axes[panel].lines
    grey = [line for line in lines if to_hex(line.get_color()).lower() == GREY]
    assert points(grey) == expected(COSTS[panel], is_shufflenet=False)
    coloured = [line for line in lines if line not in grey]
    thinnest = min(line.get_linewidth() for line in coloured)
    assert thinnest > max(line.get_linewidth() for line in grey)


def test_the_panels_share_the_axis_of_map_and_no_other(figure):
    left, right = figure.axes
    assert left.get_shared_y_axes().joined(left, right)
    assert not left.get_shared_x_axes().joined(left, right)
    assert left.get_xscale() == right.get_xscale() == "log"
    assert "backbone" in left.get_xlabel() and "224" in left.get_xlabel()
    assert "detector" in right.get_xlabel() and "own input size" in right.get_xlabel()


@pytest.mark.parametrize("panel", [0, 1])
def test_labels_can_be_read(figure, panel):
    axes = figure.axes[panel]
    # Of an annotation's own extent its leader is a part.
    boxes = {text.get_text(): Text.get_window_extent(text) for text in axes.texts}
    assert len(boxes) >= len(axes.lines) - 1
    for (one, box), (other, its) in combinations(boxes.items(), 2):
        assert not box.overlaps(its), (one, other)
    for label, box in boxes.items():
        assert figure.bbox.containsx(box.x0) and figure.bbox.containsx(box.x1), label
        assert axes.bbox.y0 < box.y0 and box.y1 < axes.bbox.y1, label
        for line in axes.lines:
            for x, y in axes.transData.transform(line.get_xydata()):
                assert not box.contains(x, y), (label, line.get_xydata())


def test_titles_and_note_fit(figure):
    texts = [t for axes in figure.axes for t in (axes.title, axes.xaxis.label)]
    assert "halved" in figure.texts[0].get_text()
    boxes = [text.get_window_extent() for text in (*texts, *figure.texts)]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_the_program_writes_a_picture_for_a_readme(tool, tmp_path, capsys):
    path = tmp_path / "new" / "published.png"
    tool("plot_published.py", "--out", path)
    assert [p.name for p in path.parent.iterdir()] == ["published.png"]
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG" and picture.width == 1800
        assert picture.convert("L").getextrema() == (0, 255)
    assert capsys.readouterr().out == ""


def test_a_failed_write_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "published.png"
    path.write_bytes(b"old")

    def save(self, where, **kwargs):
        where.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="No space left"):
        plot_published(path)
    assert [p.name for p in tmp_path.iterdir()] == ["published.png"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["published.jpg", "published", "a_file/published.png"])
def test_where_it_cannot_be_written_is_one_sentence(tool, tmp_path, name):
    (tmp_path / "a_file").touch()
    with pytest.raises(SystemExit) as ended:
        tool("plot_published.py", "--out", tmp_path / name)
    message = str(ended.value.code)
    assert len(message.splitlines()) == 1
    assert message.startswith("plot_published.py: error: ")
    assert name.partition("/")[0] in message
    assert [p.name for p in tmp_path.iterdir()] == ["a_file"]


def test_nothing_to_do_is_refused(tool, capsys):
    with pytest.raises(SystemExit) as ended:
        tool("plot_published.py")
    assert ended.value.code == 2
    assert "--out or --markdown" in capsys.readouterr().err


def cells(line):
    return [cell.strip() for cell in re.fullmatch(r"\|(.*)\|", line)[1].split("|")]


def test_the_table_has_every_result(tool, capsys):
    tool("plot_published.py", "--markdown")
    head, rule, *rows = capsys.readouterr().out.splitlines()
    assert set(rule) == {"|", "-"}
    table = [dict(zip(cells(head), cells(row), strict=True)) for row in rows]
    assert [row["key"] for row in table] == [result.key for result in PUBLISHED]
    for row, result in zip(table, PUBLISHED, strict=True):
        assert float(row["mAP"]) == result.mAP
        assert row["source"] == result.source and row["remark"] == result.remark
        for column, value in (
            ("parameters, M", result.parameters),
            ("multiply-adds, M", result.multiply_adds),
            ("of the backbone at 224x224, M", result.backbone_multiply_adds),
            ("images/s", result.images_per_second),
        ):
            assert row[column] == "" if value is None else number(row[column]) == value


def number(cell):
    return float(cell.replace(",", ""))


def test_a_table_of_some_results():
    lines = markdown_table(PUBLISHED[:2]).splitlines()
    assert [cells(line)[0] for line in lines[2:]] == [result.key for result in PUBLISHED[:2]]
