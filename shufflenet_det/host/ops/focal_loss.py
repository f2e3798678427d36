"""Focal loss of sigmoid scores (https://arxiv.org/abs/1708.02002).

Shapes: input (logits), output and gradient ``(N, C)``; target ``(N,)``, int64; weight ``(C,)``, by
the label of each row, or empty. A label outside ``0 … C - 1`` is background and has no class
weight; mmcv reads it from outside the tensor. Half precision is computed in float32.
"""

import torch
from torch import Tensor

from .kernel import compute_dtype

# Smallest normal float32: mmcv's lower limit for logarithms, in all precisions.
_TINY = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each score.

    Raises:
        ValueError: A label is greater than ``C``.
    """
    classes = input.size(1)
    if target.numel() and (greatest := int(target.max())) > classes:
        raise ValueError(f"label {greatest}: must be at most {classes}, the background")
    p = input.to(compute_dtype(input)).sigmoid()
    negative = (1 - p).clamp(min=_TINY).log().mul_(p.pow(gamma)).mul_(alpha - 1)
    p = p.gather(1, _labels(target, classes))
    positive = -alpha * (1 - p).pow(gamma) * p.clamp(min=_TINY).log()
    output.copy_(_combined(negative, positive, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the gradient of each score's loss by its logit."""
    p = input.to(compute_dtype(input)).sigmoid()
    q = 1 - p
    negative = q.clamp(min=_TINY).log().mul_(q).mul_(gamma).sub_(p)
    negative = negative.mul_(p.pow(gamma)).mul_(alpha - 1)
    p = p.gather(1, _labels(target, input.size(1)))
    q = 1 - p
    positive = -alpha * q.pow(gamma) * (q - gamma * p * p.clamp(min=_TINY).log())
    grad_input.copy_(_combined(negative, positive, target, weight))


def _labels(target: Tensor, classes: int) -> Tensor:
    """Labels clamped to valid indices, ``(N, 1)``."""
    return target[:, None].clamp(0, classes - 1)


def _combined(negative: Tensor, positive: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Put ``positive``, ``(N, 1)``, into ``negative``, ``(N, C)``, at the labels; apply weights."""
    classes = negative.size(1)
    label = _labels(target, classes)
    known = label == target[:, None]
    negative.scatter_(1, label, torch.where(known, positive, negative.gather(1, label)))
    if weight.numel() == 0:
        return negative
    return negative * torch.where(known, weight.to(negative.dtype)[label], 1)
