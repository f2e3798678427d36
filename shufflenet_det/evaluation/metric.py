"""COCO's mAP in mmdet, computed by faster-coco-eval."""

import logging
from unittest.mock import patch

from mmdet.evaluation.metrics import CocoMetric, coco_metric
from mmdet.registry import METRICS
from mmengine.logging import print_log


@METRICS.register_module()
class FastCocoMetric(CocoMetric):
    """mmdet's ``CocoMetric`` with faster-coco-eval in the place of pycocotools.

    The numbers are pycocotools' to 1e-9. Where faster-coco-eval is not installed, pycocotools
    computes them. Takes the arguments of ``CocoMetric``.
    """

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the metrics from the processed results, as ``CocoMetric`` does."""
        try:
            from faster_coco_eval import COCOeval_faster
        except ImportError:
            message = "faster-coco-eval is not installed: pycocotools computes the mAP, slower"
            print_log(message, logger="current", level=logging.WARNING)
            return super().compute_metrics(results)
        with patch.object(coco_metric, "COCOeval", COCOeval_faster):
            return super().compute_metrics(results)
