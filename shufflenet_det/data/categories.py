"""COCO's 80 object categories: names, ids (1 to 90, with gaps) and supercategories."""

import json
from pathlib import Path
from typing import Any


def read_facts() -> dict[str, Any]:
    """Read ``coco_2017.json``: categories and archives of COCO 2017, with their sources."""
    return json.loads(Path(__file__).with_name("coco_2017.json").read_text(encoding="utf-8"))


def coco_categories() -> list[dict[str, int | str]]:
    """A new list of the 80 ``{"supercategory", "id", "name"}`` records, in the order of ids."""
    return read_facts()["categories"]
