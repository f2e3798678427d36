"""mmdet's reader of COCO files takes labels by name, and forgives what COCO's own files have.

mmdet numbers labels by the order of the *file's* categories, not of the config's ``classes``
(https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/datasets/coco.py#L74): where a file
lists them in another order, or lacks one, labels shift without a word. An annotation without
``area`` or ``iscrowd`` raises KeyError, the latter at the first validation. The end of this module
would be a ``get_cat_ids`` that follows the order of the names asked for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


def install(api_wrappers: Any) -> None:
    """Change the classes of ``mmdet.datasets.api_wrappers``, in place for those who hold them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from ..data.annotations import read_and_repair

    class OrderedCOCOeval(COCOeval):
        """Keeps the order of ``params.catIds``, by which mmdet reads each class's figures."""

        def evaluate(self) -> None:
            self.asked_for = list(self.params.catIds)
            super().evaluate()

        def accumulate(self, p: Any = None) -> None:
            super().accumulate(p)
            order = np.argsort(np.argsort(self.asked_for))
            for name, axis in (("precision", 2), ("scores", 2), ("recall", 1)):
                self.eval[name] = self.eval[name].take(order, axis)

    def initialize(self: Any, annotation_file: str | None = None) -> None:
        COCO.__init__(self)
        if annotation_file is not None:
            self.dataset, _ = read_and_repair(annotation_file)
            self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(
        self: Any,
        cat_names: Sequence[str] = (),
        sup_names: Sequence[str] = (),
        cat_ids: Sequence[int] = (),
    ) -> list[int]:
        found = self.getCatIds(cat_names, sup_names, cat_ids)
        if isinstance(cat_names, str) or not len(cat_names) or len(sup_names) or len(cat_ids):
            return found
        by_name = {self.cats[identifier]["name"]: identifier for identifier in found}
        for number, name in enumerate(cat_names):
            if name not in by_name:  # an id without boxes keeps the later labels in place
                by_name[name] = -1 - number
                self.cats[-1 - number] = {"id": -1 - number, "name": name}
        return [by_name[name] for name in cat_names]

    api_wrappers.COCO.__init__ = initialize
    api_wrappers.COCO.get_cat_ids = get_cat_ids
    api_wrappers.COCOeval = OrderedCOCOeval
