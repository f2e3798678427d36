"""The model zoo page, ``configs/README.md``: a row a config, made from the configs themselves."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from terminaltables import GithubFlavoredMarkdownTable

from .results import Measurement
from .runs import REPOSITORY, ROWS, config_of

PAGE = REPOSITORY / "configs" / "README.md"
_HEAD = """\
# Model zoo

Every config, what its paper has, what was measured with it, what it costs. A cell is empty where
nothing was published or run. Parameters and multiply-adds are of the whole detector, of one image
of the pixels given (height x width, as the test pipeline resizes to at most), with as many
proposals as are tested; a classifier's are of 1000 classes. `python tools/reproduce.py zoo`
prints this page.
"""
_SECTIONS = {
    "paper_v1": """\
ShuffleNet V1, Table 7: Faster R-CNN. The two with `_fpn` are deviations, no rows of the table.
`faster_rcnn_c4.py` is their base.""",
    "paper_v2": """\
ShuffleNet V2, Table 7: Light-Head R-CNN. `light_head_rcnn.py` is their base.""",
    "": "Detectors on COCO. `own_dataset.py` is an example for data of one's own.",
    "bccd": "Detectors on BCCD, pictures of blood cells, whose mAP is another than COCO's.",
    "overfit": """\
Detectors trained and tested on the same 32 photographs of COCO: a proof that they learn, and a
measure of nothing else.""",
    "pretrain": "Classifiers on ImageNet, whose figure would be top-1.",
}
_NO_ROWS = ("faster_rcnn_c4.py", "light_head_rcnn.py", "own_dataset.py")
_COLUMNS = (
    "config",
    "mAP, paper",
    "mAP, measured",
    "pixels",
    "parameters, M",
    "multiply-adds, G",
    "command",
)

Cost = tuple[str, float, float]
"""Pixels, millions of parameters, and thousands of millions of multiply-adds."""


def zoo_configs(section: str) -> list[Path]:
    """The configs of a folder of ``configs`` that have a row, in the order of the rows."""
    rows = [config_of(row) for row in ROWS]
    found = sorted((REPOSITORY / "configs" / section).glob("*.py"))
    found = [path for path in found if path.name not in _NO_ROWS]
    return sorted(found, key=lambda path: rows.index(path) if path in rows else len(rows))


def count_cost(path: Path) -> Cost:
    """Count a config's network, a detector's or a classifier's."""
    from mmengine.config import Config

    from ..measure import backbone_complexity
    from ..measure.report import detector

    if path.parent.name == "pretrain":
        backbone = Config.fromfile(path).model.backbone
        options = {k: v for k, v in backbone.items() if k not in ("type", "out_indices")}
        *_, total = backbone_complexity(backbone.type, options, (224, 224), classes=1000)
        return "224x224", total.parameters / 1e6, total.multiply_adds / 1e9
    title, parts = detector(str(path), None)
    parameters, multiply_adds = (
        float(parts[-1][f"{what}, M"]) for what in ("parameters", "multiply-adds")
    )
    return title.rpartition(" at ")[2], parameters, multiply_adds / 1e3


def zoo_page(
    measured: Mapping[str, Measurement], cost_of: Callable[[Path], Cost] = count_cost
) -> str:
    """The page, as Markdown.

    Args:
        measured: Finished rows of the papers' tables, by key.
        cost_of: What a config's network costs.
    """
    parts = [_HEAD]
    for section, text in _SECTIONS.items():
        rows = [_row(path, measured, cost_of(path)) for path in zoo_configs(section)]
        table = GithubFlavoredMarkdownTable([_COLUMNS, *rows]).table
        title = f"configs/{section}".rstrip("/")
        parts.append(f"## {title}\n\n{text}\n\n{table}\n")
    return "\n".join(parts)


def _row(path: Path, measured: Mapping[str, Measurement], cost: Cost) -> tuple[str, ...]:
    name = path.relative_to(PAGE.parent).as_posix()
    key = next((row for row in ROWS if config_of(row) == path), None)
    pixels, parameters, multiply_adds = cost
    program = "pretrain" if path.parent.name == "pretrain" else "train"
    command = f"reproduce.py run {key}" if key else f"{program}.py configs/{name}"
    figure = measured.get(key or "")
    return (
        f"[{name}]({name})",
        f"{ROWS[key].mAP:.1f}" if key else "",
        f"{figure.mAP:.1f}" if figure else _stated(path),
        pixels,
        f"{parameters:.2f}",
        f"{multiply_adds:.2f}",
        f"`python tools/{command}`",
    )


def _stated(path: Path) -> str:
    """The figure that a config's head states, with a link to where it is; empty without."""
    text = re.sub(r"\n# ?", " ", path.read_text().partition("\n\n")[0])
    found = re.search(r"Measured with this file: mAP ([\d.]+)[^()]*\((\S+\.md)\)", text)
    return f"[{found[1]}](../{found[2]})" if found else ""
