"""What one image costs in each config's network: the set ``results/configs.json``."""

import os
from pathlib import Path

from . import results

NAME = "configs"
_NO_NETWORK_OF_THEIR_OWN = ("own_dataset.py",)
_COLUMNS = {
    "config": "name:link",
    "pixels": "options.shape",
    "parameters, M": "metrics.parameters_m:,.2f",
    "multiply-adds, G": "metrics.multiply_adds_g:,.2f",
}


def config_files(root: str | os.PathLike[str]) -> list[str]:
    """The configs of a repository that have a cost, by their path below ``configs``."""
    folder = Path(root) / "configs"
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*.py"))]
    shown = [p for p in paths if not any(part[0] == "_" for part in p.parts)]
    return [p.as_posix() for p in shown if p.name not in _NO_NETWORK_OF_THEIR_OWN]


def count_missing(root: str | os.PathLike[str]) -> list[str]:
    """Count the configs that are not in the set, a detector or a classifier each.

    Args:
        root: The repository.

    Returns:
        Those that were counted.
    """
    folder = Path(root) / results.FOLDER
    there = (folder / f"{NAME}.json").is_file()
    known = {row["name"] for row in results.read(NAME, folder).rows} if there else set()
    missing = [name for name in config_files(root) if name not in known]
    for name in missing:
        shape, parameters, multiply_adds = count(Path(root) / "configs" / name)
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
                "parameters_m": round(parameters / 1e6, 4),
                "multiply_adds_g": round(multiply_adds / 1e9, 4),
            },
        }
        results.add(NAME, row, title="One image in each network", columns=_COLUMNS, folder=folder)
    return missing


def count(path: Path) -> tuple[str, int, int]:
    """The tested size, the parameters and the multiply-adds of a config's network."""
    from mmengine.config import Config

    from .complexity import backbone_complexity, detector_complexity
    from .report import tested_shape

    cfg = Config.fromfile(path)
    shape = (224, 224)
    if "pretrain" in path.parts:
        backbone = cfg.model.backbone
        options = {k: v for k, v in backbone.items() if k not in ("type", "out_indices")}
        *_, total = backbone_complexity(backbone.type, options, classes=1000)
    else:
        tested = tested_shape(cfg)
        if tested is None:
            raise ValueError(f"{path}: its test pipeline has no Resize with a scale")
        shape = tested
        *_, total = detector_complexity(cfg.model, shape)
    return f"{shape[0]}x{shape[1]}", total.parameters, total.multiply_adds
