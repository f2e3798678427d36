"""The model zoo page: it has every config, and is what the configs give today."""

import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from shufflenet_det.experiments import results, runs, zoo
from shufflenet_det.experiments.results import Measurement

ROOT = Path(__file__).parents[2]
# One of each detector that is counted in a way of its own, and a classifier.
COUNTED = (
    "paper_v1/shufflenet_1x_300.py",
    "paper_v2/shufflenetv2_0.5x.py",
    "ssdlite320_shufflenet_coco.py",
    "pretrain/shufflenetv2_imagenet.py",
)


def table(page):
    """{config: cells behind it}."""
    lines = re.findall(r"^\| \[(\S+)\]\(\1\) *\|(.*)\|$", page, re.MULTILINE)
    found = {name: [cell.strip() for cell in cells.split("|")] for name, cells in lines}
    assert len(found) == len(lines)
    return found


@pytest.fixture(scope="module")
def page():
    return zoo.PAGE.read_text()


def test_every_config_has_a_row_but_bases_and_the_example(page):
    files = {path.relative_to(ROOT / "configs").as_posix() for path in ROOT.glob("configs/**/*.py")}
    rest = {"paper_v1/faster_rcnn_c4.py", "paper_v2/light_head_rcnn.py", "own_dataset.py"}
    assert set(table(page)) == files - rest, "python tools/reproduce.py zoo > configs/README.md"
    for name in rest:
        assert f"`{Path(name).name}`" in page


def test_the_page_is_what_the_program_prints_today(page):
    rows = table(page)

    def cost_of(path):
        _, _, pixels, parameters, multiply_adds, _ = rows[
            path.relative_to(ROOT / "configs").as_posix()
        ]
        return pixels, float(parameters), float(multiply_adds)

    measured = results.read_results(runs.ROWS, ROOT / "results")
    assert zoo.zoo_page(measured, cost_of) == page, (
        "python tools/reproduce.py zoo > configs/README.md"
    )


@pytest.mark.parametrize("name", COUNTED)
def test_costs_are_those_of_today(page, name):
    pixels, parameters, multiply_adds = zoo.count_cost(ROOT / "configs" / name)
    assert table(page)[name][2:5] == [pixels, f"{parameters:.2f}", f"{multiply_adds:.2f}"]


@pytest.mark.parametrize("row", [*runs.ROWS])
def test_parameters_are_those_of_the_detector(page, row):
    model = Config.fromfile(runs.config_of(row)).model
    model.backbone.init_cfg = None
    with torch.device("meta"):
        millions = sum(p.numel() for p in MODELS.build(model).parameters()) / 1e6
    assert float(table(page)[f"paper_{row}.py"][3]) == pytest.approx(millions, abs=0.006)


def test_figures_are_the_papers_and_where_measured_ours():
    ours = Measurement("v1/mobilenet_300", False, {"coco/bbox_mAP": 0.14567}, "", "", None, "", ())
    rows = table(zoo.zoo_page({ours.row: ours}, lambda path: ("1x1", 1.0, 2.0)))
    for row, published in runs.ROWS.items():
        expected = [f"{published.mAP:.1f}", "14.6" if row == ours.row else ""]
        assert rows[f"paper_{row}.py"][:2] == expected
        assert rows[f"paper_{row}.py"][-1] == f"`python tools/reproduce.py run {row}`"
    assert rows["paper_v1/shufflenet_1x_600_fpn.py"][:2] == ["", ""]


def test_figures_of_other_configs_are_those_of_the_documents_they_name(page):
    rows = table(page)
    linked = {name: re.fullmatch(r"\[([\d.]+)\]\(\.\./(\S+)\)", rows[name][1]) for name in rows}
    linked = {name: match.groups() for name, match in linked.items() if match}
    assert linked.keys() >= {name for name in rows if name.startswith(("bccd/", "overfit/"))}
    for name, (figure, document) in linked.items():
        lines = (ROOT / document).read_text().splitlines()
        assert any(f"| {figure} |" in line and f"{name})" in line for line in lines), name


def test_commands_name_what_is_there(page):
    for name, cells in table(page).items():
        program, *rest = cells[-1].strip("`").removeprefix("python ").split()
        assert (ROOT / program).is_file()
        assert rest in (
            [f"configs/{name}"],
            ["run", name.removeprefix("paper_").removesuffix(".py")],
        )
