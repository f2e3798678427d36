"""Estimate the statistics of BatchNorm for weights whose BatchNorm was folded."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from ..weights.nanodet import has_made_up_statistics


class EstimateStatistics(Hook):
    """Estimate the statistics of BatchNorm before a training, if the weights have none.

    It does nothing if the statistics are real, or if the training resumes. Each process estimates
    them from its own share of the data, and all processes then use those of the first.
    """

    priority = "VERY_HIGH"

    def __init__(self, batches: int = 8) -> None:
        """``batches``: the number of training batches that the estimate uses."""
        self.batches = batches

    def before_train(self, runner: Any) -> None:
        """Estimate the statistics from the training images."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if runner.iter or not any(map(has_made_up_statistics, model.modules())):
            return
        images = (
            model.data_preprocessor(data, training=True)["inputs"]
            for data in islice(runner.train_dataloader, self.batches)
        )
        count = estimate_statistics(model, images)
        for tensor in model.state_dict().values():
            broadcast(tensor)
        print_log(
            f"{count} BatchNorm layers had no statistics: estimated from {self.batches} batches",
            logger="current",
        )


@torch.no_grad()
def estimate_statistics(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Set the statistics of BatchNorm layers without real ones to those of their inputs.

    Weight and bias change too, so that the detector's outputs in evaluation stay the same. In
    training they stay nearly the same, on batches like these (N, 3, H, W). Returns the number of
    layers.
    """
    norms = [m for m in model.modules() if has_made_up_statistics(m)]
    sums: dict[Any, tuple[Any, ...]] = {}

    def add(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        x = inputs[0].double()  # (N, C, H, W)
        count, first, second = sums.get(norm, (0, 0, 0))
        sums[norm] = (
            count + x.numel() // x.shape[1],
            first + x.sum((0, 2, 3)),
            second + x.square().sum((0, 2, 3)),
        )

    handles = [norm.register_forward_pre_hook(add) for norm in norms]
    training = model.training
    model.eval()
    for images in batches:
        model(images, mode="tensor")
    model.train(training)
    for handle in handles:
        handle.remove()
    for norm, (count, first, second) in sums.items():
        _set_statistics(norm, first / count, second / count - (first / count).square())
    return len(sums)


def _set_statistics(norm: Any, mean: Tensor, variance: Tensor) -> None:
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    norm.bias.copy_(norm.bias + scale * mean)
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
