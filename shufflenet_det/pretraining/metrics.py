"""The accuracy of a classifier."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor


class TopKAccuracy(BaseMetric):
    """How often the right class is among the k with the highest logits, in %.

    An image counts only if fewer than k other classes have logits as high or higher, so that
    neither equal logits nor NaN count as right.
    """

    default_prefix = "accuracy"

    def __init__(self, topk: Sequence[int] = (1, 5), **kwargs: Any) -> None:
        """Count for several k.

        Args:
            topk: The values of k; those that are not below the number of classes give 100 %.
            **kwargs: Of mmengine's ``BaseMetric``.
        """
        super().__init__(**kwargs)
        self.topk = tuple(topk)

    def process(self, data_batch: Mapping[str, Any], data_samples: Sequence[Tensor]) -> None:
        """Rank the right classes of a batch.

        Args:
            data_batch: With the numbers of the right classes, (N,), as ``data_samples``.
            data_samples: Logits, (classes,) each.
        """
        logits = torch.stack(list(data_samples)).cpu()
        labels = torch.as_tensor(data_batch["data_samples"]).cpu()
        lower = (logits < logits.gather(1, labels[:, None])).sum(dim=1)
        self.results.extend((logits.shape[1] - 1 - lower).tolist())

    def compute_metrics(self, results: Sequence[int]) -> dict[str, float]:
        """Shares of the ranks, 0 being the highest.

        Args:
            results: The rank of the right class, one for each image.

        Returns:
            ``{'top1': …, 'top5': …}`` in %.
        """
        return {f"top{k}": 100 * sum(r < k for r in results) / len(results) for k in self.topk}
