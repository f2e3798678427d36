"""Complexities as a title and rows, one dict of plain values by column, and as Markdown."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config

from ..config_files import find_config
from . import results
from .complexity import Part, backbone_complexity, detector_complexity, proposals_of
from .published import PAPERS, agrees, in_millions
from .tables import markdown as markdown_table

CONFIGS = "configs"
"""The set of results that says what one image costs in each config's network."""
_TITLE = "One image in each network"
_COLUMNS = {
    "config": "name:link",
    "pixels": "options.shape",
    "parameters, M": "metrics.parameters_m:,.2f",
    "multiply-adds, G": "metrics.multiply_adds_g:,.2f",
}
Rows = list[dict[str, Any]]


def papers() -> tuple[str, Rows]:
    """The papers' complexities and our counts; True where they agree to the last digit."""
    rows = []
    for row in PAPERS:
        counted = row.counted()
        multiply_adds = counted.multiply_adds / 1e6
        printed = None if row.multiply_adds is None else in_millions(row.multiply_adds)
        rows.append(
            {
                "source": row.source,
                "network": row.network,
                "printed": row.multiply_adds,
                "multiply-adds, M": multiply_adds,
                "difference, M": None if printed is None else multiply_adds - printed,
                "agree": agrees(counted.multiply_adds, row.multiply_adds),
                "printed parameters": row.parameters,
                "parameters, M": counted.parameters / 1e6,
                "parameters agree": agrees(counted.parameters, row.parameters),
                "remark": row.remark,
            }
        )
    return "The papers' networks at 224x224, with the classifier unless said otherwise", rows


def backbone(
    name: str, options: dict[str, Any], shape: Sequence[int] | None, classes: int | None
) -> tuple[str, Rows]:
    """A backbone's parts; see :func:`backbone_complexity`. ``shape`` of None is 224x224."""
    height, width = shape or (224, 224)
    called = ", ".join(f"{key}={value!r}" for key, value in options.items())
    parts = backbone_complexity(name, options, (height, width), classes)
    return f"{name}({called}) at {height}x{width}", _rows(parts)


def detector(path: str, shape: Sequence[int] | None) -> tuple[str, Rows]:
    """A detector's parts; see :func:`detector_complexity`.

    Args:
        path: Of its config, or the name of a shipped one, or of mmdet's, such as
            ``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py``.
        shape: Height and width in pixels; None: what the test pipeline's ``Resize`` makes, without
            padding, of an image that is wider than high and fills the scale.

    Raises:
        FileNotFoundError: There is no such config.
        ValueError: The config has no model, or no size and ``shape`` is None.
    """
    cfg = get_config(path) if "::" in path else Config.fromfile(find_config(path))
    if not cfg.get("model"):
        raise ValueError(f"config {path!r} has no model")
    tested = shape or _tested_shape(cfg)
    if tested is None:
        raise ValueError(
            f"config {path!r}: its test pipeline has no Resize with a scale, so give the image's "
            "height and width, for example --shape 224 224"
        )
    parts = detector_complexity(cfg.model, tested)
    proposals = proposals_of(cfg.model)
    limit = "" if proposals is None else f", {proposals} proposals,"
    return f"{path}{limit} at {tested[0]}x{tested[1]}", _rows(parts)


def markdown(rows: Rows) -> str:
    """Rows as a GitHub-flavoured table."""
    return markdown_table(list(rows[0]), [[*map(_cell, row.values())] for row in rows])


def config_files(root: str | os.PathLike[str]) -> list[str]:
    """The configs of a repository that have a network, by their path below ``configs``."""
    folder = Path(root) / "configs"
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*.py"))]
    shown = [path for path in paths if not any(part[0] == "_" for part in path.parts)]
    return [path.as_posix() for path in shown if path.name != "own_dataset.py"]


def count_missing(root: str | os.PathLike[str]) -> list[str]:
    """Count the configs of a repository that are not in ``results/configs.json``: their names."""
    folder = Path(root) / results.FOLDER
    known = {row["name"] for row in results.rows(CONFIGS, folder)}
    missing = [name for name in config_files(root) if name not in known]
    for name in missing:
        shape, parameters, multiply_adds = count_config(Path(root) / "configs" / name)
        row = {
            "name": name,
            "config": name,
            "options": {"shape": shape},
            "seed": None,
            "data": {"name": "one image"},
            "budget": {},
            **results.provenance(),
            "hardware": "any",
            "metrics": {
                "parameters_m": round(parameters, 4),
                "multiply_adds_g": round(multiply_adds / 1000, 4),
            },
        }
        results.add(CONFIGS, row, title=_TITLE, columns=_COLUMNS, folder=folder)
    return missing


def count_config(path: Path) -> tuple[str, float, float]:
    """The tested size, or 224x224 of a classifier, and millions of parameters and multiply-adds."""
    if "pretrain" in path.parts:
        model = Config.fromfile(path).model.backbone
        options = {k: v for k, v in model.items() if k not in ("type", "out_indices")}
        title, rows = backbone(model.type, options, None, 1000)
    else:
        title, rows = detector(str(path), None)
    shape = title.rpartition(" at ")[2]
    return shape, rows[-1]["parameters, M"], rows[-1]["multiply-adds, M"]


def _rows(parts: Sequence[Part]) -> Rows:
    return [
        {
            "part": part.name,
            "parameters, M": part.parameters / 1e6,
            "multiply-adds, M": part.multiply_adds / 1e6,
        }
        for part in parts
    ]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}"
    return {None: "", True: "yes", False: "no"}.get(value, value)


def _tested_shape(cfg: Config) -> tuple[int, int] | None:
    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    while "dataset" in dataset:  # RepeatDataset and the like
        dataset = dataset["dataset"]
    for transform in dataset.get("pipeline") or ():
        if transform["type"].endswith("Resize") and transform.get("scale"):
            scale = transform["scale"]
            width, height = (scale, scale) if isinstance(scale, int) else scale
            if transform.get("keep_ratio"):  # the longer and the shorter side, in either order
                width, height = max(width, height), min(width, height)
            return height, width
    return None
