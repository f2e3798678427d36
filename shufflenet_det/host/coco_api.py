"""Correct labels, tolerant reading and fast evaluation for mmdet's COCO data sets.

mmdet numbers labels in the order of the *file's* categories, not of the config's ``classes``
(https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/datasets/coco.py#L74). If the file has
another order or lacks a category, labels silently shift. An annotation without ``area`` or
``iscrowd`` raises a KeyError. Remove this module when ``get_cat_ids`` keeps the order of the names.

faster-coco-eval computes the mAP of boxes; its figures equal pycocotools' to the last bit.
pycocotools computes the mAP of masks, and both if faster-coco-eval cannot be imported.
"""

import collections
import contextlib
import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np


def install(api_wrappers: Any) -> None:
    """Patch the classes of ``mmdet.datasets.api_wrappers``, in place for existing references."""
    from pycocotools.coco import COCO

    from ..data.annotations import read_and_repair

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
            if name not in by_name:  # an unused id keeps the later labels in place
                by_name[name] = -1 - number
                self.cats[-1 - number] = {"id": -1 - number, "name": name}
        return [by_name[name] for name in cat_names]

    api_wrappers.COCO.__init__ = initialize
    api_wrappers.COCO.get_cat_ids = get_cat_ids
    api_wrappers.COCOeval = coco_eval


def install_metric(module: ModuleType) -> None:
    """Patch ``mmdet.evaluation.metrics.coco_metric``: ``CocoMetric`` keeps its results in memory.

    mmdet writes them to a temporary file, which takes longer than the evaluation.
    """
    metric, dump, load = module.CocoMetric, module.dump, module.load
    compute, to_records = metric.compute_metrics, metric.results2json

    @functools.wraps(compute)
    def compute_metrics(self: Any, results: list) -> Any:
        held: dict[str, Any] = {}

        def hold(content: Any, path: str) -> None:
            held[path] = content
            if self.outfile_prefix is not None or path.endswith(".gt.json"):
                dump(content, path)

        module.dump, module.load = hold, held.get  # type: ignore[attr-defined]
        try:
            with no_collection():
                return compute(self, results)
        finally:
            module.dump, module.load = dump, load  # type: ignore[attr-defined]

    @functools.wraps(to_records)
    def results2json(self: Any, results: Sequence[dict[str, Any]], prefix: str) -> dict[str, str]:
        if self.outfile_prefix is not None or "masks" in results[0]:
            return to_records(self, results, prefix)
        columns = ("bboxes", "scores", "labels")
        records = [
            {
                "image_id": result["img_id"],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": score,
                "category_id": self.cat_ids[label],
                "segmentation": None,  # otherwise pycocotools creates one for each box
            }
            for result in results
            for (x1, y1, x2, y2), score, label in zip(
                *(result[name].tolist() for name in columns), strict=True
            )
        ]
        name = f"{prefix}.bbox.json"
        module.dump(records, name)  # type: ignore[attr-defined]
        return {"bbox": name, "proposal": name}

    metric.compute_metrics, metric.results2json = compute_metrics, results2json


def install_dataset(module: ModuleType) -> None:
    """Patch ``CocoDataset`` of ``mmdet.datasets.coco`` to read large files with little memory."""
    from ..data.annotations import read_and_repair

    dataset = module.CocoDataset
    load = dataset.load_data_list

    @functools.wraps(load)
    def load_data_list(self: Any) -> list[dict[str, Any]]:
        if self.COCOAPI is not module.COCO or "://" in str(self.ann_file):
            return load(self)
        loads = [t.with_mask for t in self.pipeline.transforms if hasattr(t, "with_mask")]
        masks = any(loads) or not loads
        with no_collection():
            content, _ = read_and_repair(self.ann_file, masks=masks)
            coco = module.COCO()
            coco.dataset = {key: content[key] for key in ("images", "categories")}
            coco.createIndex()
            self.cat_ids = coco.get_cat_ids(cat_names=self.metainfo["classes"])
            self.cat2label = {category: label for label, category in enumerate(self.cat_ids)}
            self.cat_img_map = collections.defaultdict(list)
            by_image = collections.defaultdict(list)
            annotations = content["annotations"]
            while annotations:  # popping frees each annotation once its image is parsed
                annotation = annotations.pop()
                by_image[annotation["image_id"]].append(annotation)
                self.cat_img_map[annotation["category_id"]].append(annotation["image_id"])
            parsed = []
            for identifier, image in coco.imgs.items():
                image["img_id"] = identifier
                raw = {"raw_img_info": image, "raw_ann_info": by_image.pop(identifier, [])[::-1]}
                parsed.append(self.parse_data_info(raw))
        return parsed

    dataset.load_data_list = load_data_list


def coco_eval(truth: Any, found: Any, iou_type: str = "segm") -> Any:
    """Build a ``COCOeval`` of the fastest library with pycocotools' figures.

    It keeps the order of ``params.catIds``, which mmdet uses to read the figures of each class.
    """
    return _evaluation(iou_type == "bbox")(truth, found, iou_type)


@functools.cache
def _evaluation(boxes: bool) -> Callable[..., Any]:
    from pycocotools.cocoeval import COCOeval

    library: Any = COCOeval
    if boxes:
        with contextlib.suppress(ImportError):
            from faster_coco_eval import COCOeval_faster

            library = COCOeval_faster

    class OrderedEvaluation(library):
        def __init__(self, truth: Any, found: Any, iou_type: str) -> None:
            options = {} if library is COCOeval else {"print_function": print}
            super().__init__(truth, found, iou_type, **options)
            if options:
                self.cocoGt, self.cocoDt = _QuickIndex(truth), _QuickIndex(found)

        def evaluate(self) -> None:
            self.wanted_ids = list(self.params.catIds)
            super().evaluate()

        def accumulate(self, *args: Any) -> None:
            super().accumulate(*args)
            if self.params.useCats:
                order = np.argsort(np.argsort(self.wanted_ids))
                for name, axis in (("precision", 2), ("scores", 2), ("recall", 1)):
                    self.eval[name] = self.eval[name].take(order, axis)

    return OrderedEvaluation


class _QuickIndex:
    """A ``COCO`` that selects annotations in linear time."""

    def __init__(self, coco: Any) -> None:
        self._coco = coco

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coco, name)

    def getAnnIds(self, imgIds: Any, catIds: Any) -> list[Any]:
        """Return the annotations themselves, for :meth:`loadAnns`."""
        images = set(imgIds)
        categories = set(self._coco.cats if catIds is None else catIds)
        return [
            annotation
            for annotation in self._coco.anns.values()
            if annotation["category_id"] in categories and annotation["image_id"] in images
        ]

    def loadAnns(self, annotations: list[Any]) -> list[Any]:
        """Return the annotations unchanged."""
        return annotations


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Create many objects without Python's garbage collection, which takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # both calls together move the new objects to the oldest generation
        if enabled:
            gc.enable()
