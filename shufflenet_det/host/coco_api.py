"""mmdet's COCO files and its mAP: labels by name, what COCO's own files have forgiven, and fast.

mmdet numbers labels by the order of the *file's* categories, not of the config's ``classes``
(https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/datasets/coco.py#L74): where a file
lists them in another order, or lacks one, labels shift without a word. An annotation without
``area`` or ``iscrowd`` raises KeyError, the latter at the first validation. The end of this module
would be a ``get_cat_ids`` that follows the order of the names asked for.

The mAP of boxes is computed by faster-coco-eval, whose figures are pycocotools' to the last bit;
pycocotools computes that of masks, and all where faster-coco-eval cannot be imported.
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
    """Change the classes of ``mmdet.datasets.api_wrappers``, in place for those who hold them."""
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
            if name not in by_name:  # an id without boxes keeps the later labels in place
                by_name[name] = -1 - number
                self.cats[-1 - number] = {"id": -1 - number, "name": name}
        return [by_name[name] for name in cat_names]

    api_wrappers.COCO.__init__ = initialize
    api_wrappers.COCO.get_cat_ids = get_cat_ids
    api_wrappers.COCOeval = coco_eval


def install_metric(module: ModuleType) -> None:
    """Let ``CocoMetric`` of ``mmdet.evaluation.metrics.coco_metric`` pass its results in memory.

    mmdet writes them to a temporary file, which takes longer than their evaluation.
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
                "segmentation": None,  # else pycocotools makes one of every box
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
    """Let ``CocoDataset`` of ``mmdet.datasets.coco`` read large files with little memory."""
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
            while annotations:  # each is let go when its image has been parsed
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
    """``COCOeval``, by the quickest library that gives pycocotools' figures.

    It keeps the order of ``params.catIds``, by which mmdet reads each class's figures.
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
            self.asked_for = list(self.params.catIds)
            super().evaluate()

        def accumulate(self, *args: Any) -> None:
            super().accumulate(*args)
            if self.params.useCats:
                order = np.argsort(np.argsort(self.asked_for))
                for name, axis in (("precision", 2), ("scores", 2), ("recall", 1)):
                    self.eval[name] = self.eval[name].take(order, axis)

    return OrderedEvaluation


class _QuickIndex:
    """A ``COCO`` that chooses annotations in the time that one look at each takes."""

    def __init__(self, coco: Any) -> None:
        self._coco = coco

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coco, name)

    def getAnnIds(self, imgIds: Any, catIds: Any) -> list[Any]:
        """The annotations themselves, which :meth:`loadAnns` takes."""
        images = set(imgIds)
        categories = set(self._coco.cats if catIds is None else catIds)
        return [
            annotation
            for annotation in self._coco.anns.values()
            if annotation["category_id"] in categories and annotation["image_id"] in images
        ]

    def loadAnns(self, annotations: list[Any]) -> list[Any]:
        """As they are."""
        return annotations


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Make many objects without Python's search for cycles, which takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.unfreeze()  # both together: what was made counts as old, and is not searched at once
        if enabled:
            gc.enable()
