"""Exact conversions of a ShuffleNetV1: the same function with its channels in other places.

Tensors go by this package's names. An order of channels is an index: ``out[p] = in[index[p]]``.
"""

import torch
from torch import Tensor

from .structure import NORM, Tensors


class NoConversionError(ValueError):
    """No order of the channels makes one network compute what the other does."""


def reverse(tensors: Tensors) -> Tensors:
    """Reverse every order of channels but the images'.

    A V1 that concatenates (result, pooled input) becomes one that concatenates (pooled input,
    result): the shuffle of V1 is the same in both directions of counting.
    """

    def reversed_(key: str, tensor: Tensor) -> Tensor:
        if tensor.ndim == 4 and key != "conv1.0.weight":
            return tensor.flip(0, 1)
        return tensor.flip(0) if tensor.ndim else tensor

    return {key: reversed_(key, tensor) for key, tensor in tensors.items()}


def shuffle_index(channels: int, groups: int, shuffle: str) -> Tensor:
    """The order that a V1 unit's shuffle makes: 'paper' or 'inverse' of ``ShuffleNetV1``."""
    if shuffle not in ("paper", "inverse"):
        raise NoConversionError(f"shuffle={shuffle!r} is neither 'paper' nor 'inverse'")
    rows = groups if shuffle == "paper" else channels // groups
    return torch.arange(channels).view(rows, -1).T.flatten()


def shuffle_v1(
    tensors: Tensors, groups: int, source: str, target: str, *, shuffle_last: bool = False
) -> Tensors:
    """Let every unit of a V1 compute with another shuffle what it did with its own.

    Features stay in their places; channels inside of the units move. ``source`` and ``target`` are
    'paper' or 'inverse'; the source may shuffle behind the depthwise convolution.

    Raises:
        NoConversionError: A unit's channels cannot be sorted so that each group of the second
            convolution still reads what it read.
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
        read = moved[new_order]  # the source's channel at each place behind the new shuffle
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
    """Which old channel to put at each new place.

    A channel stays in its group of the first convolution and is read by the same group of the
    second one. (The dense first convolution of stage 2 would allow more, which nothing needs: the
    units behind it have as many channels.)
    """
    groups = torch.arange(len(old_readers)) // per_group
    old_kinds = groups * len(old_readers) + old_readers
    new_kinds = groups * len(old_readers) + new_readers
    old, new = old_kinds.argsort(stable=True), new_kinds.argsort(stable=True)
    if not torch.equal(old_kinds[old], new_kinds[new]):
        raise NoConversionError("a shuffle mixes other numbers of channels than the other one")
    moved = torch.empty_like(old)
    moved[new] = old
    return moved
