"""Exact conversions of a ShuffleNetV1: reorder its channels without changing its function.

Tensors have this package's names. An order of channels is an index: ``out[p] = in[index[p]]``.
"""

import torch
from torch import Tensor

from .structure import NORM, Tensors


class NoConversionError(ValueError):
    """No order of the channels gives both networks the same function."""


def reverse(tensors: Tensors) -> Tensors:
    """Reverse all channels except those of the images.

    A V1 that concatenates (result, pooled input) becomes one that concatenates (pooled input,
    result). The shuffle stays the same, because V1's shuffle is symmetric under this reversal.
    """

    def reversed_(key: str, tensor: Tensor) -> Tensor:
        if tensor.ndim == 4 and key != "conv1.0.weight":
            return tensor.flip(0, 1)
        return tensor.flip(0) if tensor.ndim else tensor

    return {key: reversed_(key, tensor) for key, tensor in tensors.items()}


def shuffle_index(channels: int, groups: int, shuffle: str) -> Tensor:
    """The order of channels after a V1 unit's shuffle, 'paper' or 'inverse'."""
    if shuffle not in ("paper", "inverse"):
        raise NoConversionError(f"only 'paper' and 'inverse' can be converted, not {shuffle!r}")
    rows = groups if shuffle == "paper" else channels // groups
    return torch.arange(channels).view(rows, -1).T.flatten()


def shuffle_v1(
    tensors: Tensors, groups: int, source: str, target: str, *, shuffle_last: bool = False
) -> Tensors:
    """Reorder the channels inside every unit of a V1 for another shuffle.

    The units' outputs keep their order. ``source`` and ``target`` are 'paper' or 'inverse'.
    ``shuffle_last``: the source shuffles after the depthwise convolution.

    Raises:
        NoConversionError: No order of a unit's channels gives each group of its second convolution
            the same inputs as before.
    """
    tensors = dict(tensors)
    units = [key.removesuffix("compress.0.weight") for key in tensors if "compress.0.w" in key]
    for unit in units:
        channels = tensors[f"{unit}compress.0.weight"].shape[0]
        per_group = channels // groups
        old_order, new_order = (shuffle_index(channels, groups, s) for s in (source, target))
        old_place = old_order.argsort()
        moved = _moves(per_group, old_place // per_group, new_order.argsort() // per_group)
        for key in ("compress.0.weight", *(f"compress.1.{leaf}" for leaf in NORM)):
            tensors[unit + key] = tensors[unit + key][moved]
        read = moved[new_order]  # the source's channel at each place after the new shuffle
        old_rows = read if shuffle_last else old_place[read]
        for key in ("depthwise.0.weight", *(f"depthwise.1.{leaf}" for leaf in NORM)):
            tensors[unit + key] = tensors[unit + key][old_rows]
        weight = tensors[f"{unit}expand.0.weight"]
        columns = (old_place[read] % per_group).view(groups, 1, per_group)
        grouped = weight.view(groups, -1, per_group)
        tensors[f"{unit}expand.0.weight"] = torch.gather(
            grouped, 2, columns.expand_as(grouped)
        ).view_as(weight)
    return tensors


def _moves(per_group: int, old_readers: Tensor, new_readers: Tensor) -> Tensor:
    """The old channel for each new place.

    A channel stays in its group of the first convolution, and the same group of the second
    convolution reads it. The dense first convolution of stage 2 would allow other orders too, but
    the other units of stage 2 have as many channels and would still not allow them.
    """
    groups = torch.arange(len(old_readers)) // per_group
    old_kinds = groups * len(old_readers) + old_readers
    new_kinds = groups * len(old_readers) + new_readers
    old, new = old_kinds.argsort(stable=True), new_kinds.argsort(stable=True)
    if not torch.equal(old_kinds[old], new_kinds[new]):
        raise NoConversionError("the two shuffles mix different numbers of channels")
    moved = torch.empty_like(old)
    moved[new] = old
    return moved
