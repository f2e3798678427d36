"""Focal loss over sigmoid scores (https://arxiv.org/abs/1708.02002).

Shapes: input, output and gradient ``(N, C)``, the input as logits; target ``(N,)``, int64; weight
``(C,)``, of the row of each label, or empty for none. A label outside ``0 … C - 1`` is the
background. It has no class weight; mmcv reads one from outside the tensor. Half precision is
computed in float32.
"""

import torch
from torch import Tensor

from .kernel import compute_dtype

# Smallest normal float32: mmcv's floor under each logarithm, in every precision.
_TINY = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Writes the loss of each score.

    Raises:
        ValueError: A label is greater than ``C``.
    """
    classes = input.size(1)
    if target.numel() and (greatest := int(target.max())) > classes:
        raise ValueError(f"labels go up to {classes}, got {greatest}")
    p = input.to(compute_dtype(input)).sigmoid()
    negative = (1 - p).clamp(min=_TINY).log().mul_(p.pow(gamma)).mul_(alpha - 1)
    p = p.gather(1, _labels(target, classes))
    positive = -alpha * (1 - p).pow(gamma) * p.clamp(min=_TINY).log()
    output.copy_(_combined(negative, positive, target, weight))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Writes the derivative of each score's loss by its logit."""
    p = input.to(compute_dtype(input)).sigmoid()
    q = 1 - p
    negative = q.clamp(min=_TINY).log().mul_(q).mul_(gamma).sub_(p)
    negative = negative.mul_(p.pow(gamma)).mul_(alpha - 1)
    p = p.gather(1, _labels(target, input.size(1)))
    q = 1 - p
    positive = -alpha * q.pow(gamma) * (q - gamma * p * p.clamp(min=_TINY).log())
    grad_input.copy_(_combined(negative, positive, target, weight))


def _labels(target: Tensor, classes: int) -> Tensor:
    """Labels that can be looked up, ``(N, 1)``."""
    return target[:, None].clamp(0, classes - 1)


def _combined(negative: Tensor, positive: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """``negative``, ``(N, C)``, with ``positive``, ``(N, 1)``, at the labels, and weighted."""
    classes = negative.size(1)
    label = _labels(target, classes)
    known = label == target[:, None]
    negative.scatter_(1, label, torch.where(known, positive, negative.gather(1, label)))
    if weight.numel() == 0:
        return negative
    return negative * torch.where(known, weight.to(negative.dtype)[label], 1)
