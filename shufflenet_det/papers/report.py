"""Complexities as rows of plain values, and as Markdown."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config

from ..config_files import config_names, find_config
from . import results
from .complexity import Part, backbone_complexity, detector_complexity, proposals_of
from .published import PAPERS, agrees, in_millions
from .tables import markdown as markdown_table

CONFIGS = "configs"
"""The set of results with the cost of one image in the network of each config."""
_COLUMNS = {
    "config": "name:link",
    "pixels": "options.shape",
    "parameters, M": "metrics.parameters_m:,.2f",
    "multiply-adds, G": "metrics.multiply_adds_g:,.2f",
}
Rows = list[dict[str, Any]]


def papers() -> tuple[str, Rows]:
    """Compare the papers' complexities with our counts; returns a title and rows.

    'agree' is True if the count rounds to the printed figure.
    """
    rows = []
    for row in PAPERS:
        *_, total = backbone_complexity(row.backbone, row.options, classes=row.classes)
        multiply_adds = total.multiply_adds / 1e6
        printed = None if row.multiply_adds is None else in_millions(row.multiply_adds)
        rows.append(
            {
                "source": row.source,
                "network": row.network,
                "printed": row.multiply_adds,
                "multiply-adds, M": multiply_adds,
                "difference, M": None if printed is None else multiply_adds - printed,
                "agree": agrees(total.multiply_adds, row.multiply_adds),
                "printed parameters": row.parameters,
                "parameters, M": total.parameters / 1e6,
                "parameters agree": agrees(total.parameters, row.parameters),
                "remark": row.remark,
            }
        )
    return "The papers' networks at 224x224, with the classifier unless said otherwise", rows


def backbone(
    name: str, options: dict[str, Any], shape: Sequence[int] | None, classes: int | None
) -> tuple[str, Rows]:
    """Count the parts of a backbone with :func:`backbone_complexity`; returns a title and rows.

    ``shape=None`` means 224x224.
    """
    height, width = shape or (224, 224)
    arguments = ", ".join(f"{key}={value!r}" for key, value in options.items())
    parts = backbone_complexity(name, options, (height, width), classes)
    return f"{name}({arguments}) at {height}x{width}", _rows(parts)


def detector(path: str, shape: Sequence[int] | None) -> tuple[str, Rows]:
    """Count the parts of a detector with :func:`detector_complexity`; returns a title and rows.

    Args:
        path: A config file, the name of a shipped config, or a config of mmdet such as
            ``mmdet::retinanet/retinanet_r50_fpn_1x_coco.py``.
        shape: Height and width in pixels; None: :func:`tested_shape`.

    Raises:
        FileNotFoundError: The config does not exist.
        ValueError: The config has no model, or no image size and ``shape`` is None.
    """
    cfg = get_config(path) if "::" in path else Config.fromfile(find_config(path))
    if not cfg.get("model"):
        raise ValueError(f"config {path!r} has no model")
    height, width = shape or tested_shape(cfg)
    parts = detector_complexity(cfg.model, (height, width))
    proposals = proposals_of(cfg.model)
    limit = "" if proposals is None else f", {proposals} proposals,"
    return f"{path}{limit} at {height}x{width}", _rows(parts)


def tested_shape(cfg: Config) -> tuple[int, int]:
    """Height and width in pixels to which the test pipeline's ``Resize`` scales a landscape image.

    With ``keep_ratio``, this is the largest size, without padding.

    Raises:
        ValueError: The test pipeline has no ``Resize`` with a scale.
    """
    dataset = (cfg.get("test_dataloader") or {}).get("dataset") or {}
    while "dataset" in dataset:  # RepeatDataset and similar wrappers
        dataset = dataset["dataset"]
    for transform in dataset.get("pipeline") or ():
        if transform["type"].endswith("Resize") and transform.get("scale"):
            scale = transform["scale"]
            width, height = (scale, scale) if isinstance(scale, int) else scale
            if transform.get("keep_ratio"):  # the longer and the shorter side, in either order
                width, height = max(width, height), min(width, height)
            return height, width
    raise ValueError(
        f"config {cfg.filename!r}: its test pipeline has no Resize with a scale, so give the "
        "image's height and width, for example --shape 224 224"
    )


def markdown(rows: Rows) -> str:
    """Format rows as a GitHub-flavoured table."""
    return markdown_table(list(rows[0]), [[*map(_cell, row.values())] for row in rows])


def count_missing(root: str | os.PathLike[str]) -> list[str]:
    """Count the configs that ``results/configs.json`` of a repository lacks; return their names."""
    folder = Path(root) / results.FOLDER
    known = {row["name"] for row in results.rows(CONFIGS, folder)}
    # own_dataset has the network of nanodet_plus_m_416.
    names = [f"{name}.py" for name in config_names() if name != "own_dataset"]
    missing = [name for name in names if name not in known]
    for name in missing:
        (height, width), total = count_config(name)
        row = {
            "name": name,
            "config": name,
            "options": {"shape": f"{height}x{width}"},
            "seed": None,
            "data": {"name": "one image"},
            "budget": {},
            **results.provenance(),
            "hardware": "any",
            "metrics": {
                "parameters_m": round(total.parameters / 1e6, 4),
                "multiply_adds_g": round(total.multiply_adds / 1e9, 4),
            },
        }
        title = "One image in each network"
        results.add(CONFIGS, row, title=title, columns=_COLUMNS, folder=folder)
    return missing


def count_config(name: str) -> tuple[tuple[int, int], Part]:
    """Count a shipped config: a detector, or an image classifier at 224x224 pixels.

    Returns:
        Height and width of the image in pixels, and the total.
    """
    cfg = Config.fromfile(find_config(name))
    if name.startswith("pretrain/"):
        options = {k: v for k, v in cfg.model.backbone.items() if k not in ("type", "out_indices")}
        shape = 224, 224
        return shape, backbone_complexity(cfg.model.backbone.type, options, shape, 1000)[-1]
    shape = tested_shape(cfg)
    return shape, detector_complexity(cfg.model, shape)[-1]


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
