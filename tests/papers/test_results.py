"""Results as data, and the tables of the pages, which are generated from them."""

import json

import pytest

from shufflenet_det import cli
from shufflenet_det.config_files import config_names
from shufflenet_det.papers import report, results, tables

ROW = {
    "name": "V2",
    "config": "bccd/x.py",
    "options": {},
    "seed": 0,
    "data": {"name": "BCCD", "test": "test", "test_images": 72},
    "budget": {"passes": 18, "minutes": 8.7},
    "date": "2026-11-25",
    "hardware": "CPU",
    "versions": {"torch": "2.15"},
    "command": "train",
    "metrics": {"mAP": 36.9},
}
COLUMNS = {"backbone": "name", "mAP": "metrics.mAP:.1f", "note": "remark"}


@pytest.fixture
def folder(tmp_path):
    results.add("set", ROW, title="A set", columns=COLUMNS, folder=tmp_path / "results")
    return tmp_path / "results"


def test_the_files_of_the_repository_follow_the_schema(root):
    for path in (root / "results").glob("*.json"):
        found = results.read(path.stem, root / "results")
        assert found.rows and found.title
        assert tables.results_table(found).count("\n") == len(found.rows) + 1
        for row in found.rows:
            assert not row["config"] or (root / "configs" / row["config"]).is_file()


def test_the_pages_show_the_results(root):
    """Run `shufflenet-det tables` if this fails."""
    assert tables.update_pages(root, check=True) == []
    tried = results.rows("mmdet", root / "results")
    works = sum(row["metrics"]["works"] for row in tried)
    assert f"{works} of {len(tried)} configs work" in (root / "docs/mmdet.md").read_text("utf-8")


def test_a_row_is_added_or_replaces_the_same_experiment(folder):
    results.add("set", {**ROW, "name": "V1", "metrics": {"mAP": 40.0}}, folder=folder)
    results.add("set", {**ROW, "metrics": {"mAP": 37.0}, "date": "2026-11-26"}, folder=folder)
    found = results.read("set", folder)
    assert [row["metrics"]["mAP"] for row in found.rows] == [40.0, 37.0]
    assert found.columns == COLUMNS


def test_rows_inherit_shared_fields(folder):
    path = folder / "set.json"
    content = json.loads(path.read_text())
    shared = content["rows"][0]
    content["shared"] = {**shared, "budget": {"passes": 18}}
    content["rows"] = [{"name": "V1", "budget": {"minutes": 3}}, {}]
    path.write_text(json.dumps(content))
    results.add("set", {**ROW, "name": "V3"}, folder=folder)
    first, second, third = results.read("set", folder).rows
    assert first == {**ROW, "name": "V1", "budget": {"passes": 18, "minutes": 3}}
    assert (second["name"], second["budget"]) == ("V2", {"passes": 18})
    assert third == {**ROW, "name": "V3"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"budget": {"passes": 72}}, "another budget"),
        ({"data": {"name": "COCO"}}, "another data"),
        ({"metrics": {"mAP": "high"}}, "metrics.mAP is 'high'"),
        ({"metrics": {"mAP": float("nan")}}, "metrics.mAP is nan"),
        ({"budget": {"pases": 18}}, r"budget\.pases"),
        ({"date": "yesterday"}, "yesterday"),
        ({"versions": 2.15}, "versions is 2.15"),
        ({"gpu": "none"}, "unknown fields: gpu"),
    ],
)
def test_an_invalid_row_is_refused_and_nothing_is_written(folder, change, named):
    before = (folder / "set.json").read_bytes()
    with pytest.raises(ValueError, match=named):
        results.add("set", {**ROW, "name": "V1", **change}, folder=folder)
    assert (folder / "set.json").read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2}', '{"schema": 1, "rows": [1]}'])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.json"):
        results.read("bad", tmp_path)


def test_provenance_fills_a_row(folder):
    results.add("set", {**ROW, "name": "here", **results.provenance()}, folder=folder)
    assert "torch" in results.read("set", folder).rows[-1]["versions"]


def test_tables_are_generated_between_their_marks(folder, capsys):
    page = folder.parent / "README.md"
    page.write_text("a\n<!-- table: set | mAP; backbone -->\nold\n<!-- end of table -->\nb\n")
    root = ["--root", str(folder.parent)]
    assert cli.main(["tables", "--check", *root]) == 1
    assert "old" in page.read_text() and "README.md" in capsys.readouterr().out
    assert cli.main(["tables", *root]) == 0
    assert page.read_text() == (
        "a\n<!-- table: set | mAP; backbone -->\n| mAP | backbone |\n| ---: | --- |\n"
        "| 36.9 | V2 |\n<!-- end of table -->\nb\n"
    )
    assert cli.main(["tables", "--check", *root]) == 0


@pytest.mark.parametrize("mark", ["nothing", "set | mIoU"])
def test_an_unknown_table_is_named_with_its_page(folder, capsys, mark):
    (folder.parent / "README.md").write_text(f"<!-- table: {mark} -->\n<!-- end of table -->\n")
    assert cli.main(["tables", "--root", str(folder.parent)]) == 2
    error = capsys.readouterr().err
    assert "README.md" in error and mark.split()[-1] in error


def test_the_configs_with_a_cost_exist(root):
    """A new config needs no row to pass the tests: `shufflenet-det tables --count` adds it."""
    listed = {row["name"] for row in results.read("configs", root / "results").rows}
    assert len(listed) > 40 and listed <= {f"{name}.py" for name in config_names()}


@pytest.mark.parametrize("name", ["ssdlite320_shufflenet_coco.py", "pretrain/xception_imagenet.py"])
def test_a_listed_cost_is_the_counted_one(root, name):
    (row,) = [r for r in results.read("configs", root / "results").rows if r["name"] == name]
    (height, width), total = report.count_config(name)
    assert row["options"]["shape"] == f"{height}x{width}"
    assert row["metrics"]["parameters_m"] == pytest.approx(total.parameters / 1e6, abs=0.005)
    assert row["metrics"]["multiply_adds_g"] == pytest.approx(total.multiply_adds / 1e9, abs=0.005)
