"""Read the classes of a data set from its annotations."""

from pathlib import Path
from typing import Any

from ..config_files import dicts_in
from .annotations import read_json


def fit_classes(cfg: Any) -> tuple[str, ...] | None:
    """Set the classes of a config from its annotations, where it has ``classes=None``.

    Args:
        cfg: A complete mmdet config, changed in place. ``metainfo.classes`` of each data set
            becomes the categories of the first annotation file that exists (train, val, test), and
            every ``num_classes`` of the model their number.

    Returns:
        The classes; None if the config has its own or no annotation file exists.

    Raises:
        ValueError: The file has no categories or is not in COCO format.
    """
    loaders = [cfg.get(f"{split}_dataloader") for split in ("train", "val", "test")]
    wanting = [
        node
        for node in dicts_in(loaders)
        if "ann_file" in node and (node.get("metainfo") or {}).get("classes", 0) is None
    ]
    paths = [Path(d.get("data_root") or "", d["ann_file"]) for d in wanting]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    try:
        classes = tuple(str(category["name"]) for category in read_json(path)["categories"])
    except (TypeError, KeyError) as error:
        raise ValueError(
            f"{str(path)!r}: COCO json has 'categories', each with a 'name' ({error!r})"
        ) from error
    if not classes:
        raise ValueError(f"{str(path)!r}: the list 'categories' is empty")
    for dataset in wanting:
        dataset["metainfo"]["classes"] = classes
    for node in dicts_in(cfg["model"]):
        if "num_classes" in node:
            node["num_classes"] = len(classes)
    return classes
