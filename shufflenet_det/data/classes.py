"""The classes of a data set, read from its annotations."""

from pathlib import Path
from typing import Any

from ..config_files import dicts_in
from .annotations import read_json


def fit_classes(cfg: Any) -> tuple[str, ...] | None:
    """Give a config the classes of its annotations where it states ``classes=None``.

    Args:
        cfg: A whole mmdet config. Where a dataset's ``metainfo.classes`` is None, it becomes the
            names of the categories, in the order of the first annotation file that is there,
            training's before validation's and the test's, and so does every ``num_classes`` of
            the model their number.

    Returns:
        The classes; None where the config states its own or no annotation file is there.

    Raises:
        ValueError: The file has no categories or is no COCO json.
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
        raise ValueError(f"{str(path)!r}: its 'categories' are empty")
    for dataset in wanting:
        dataset["metainfo"]["classes"] = classes
    for node in dicts_in(cfg["model"]):
        if "num_classes" in node:
            node["num_classes"] = len(classes)
    return classes
