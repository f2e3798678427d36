"""Build convolutions, normalisations and activations from ``*_cfg`` dicts, without mmcv."""

import inspect
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import SqueezeExcitation

Cfg = dict[str, Any]

# The config's names of layers that have another name in torch.nn, by argument.
_NAMES = {
    "conv_cfg": {"Conv": "Conv2d"},
    "norm_cfg": {
        "BN": "BatchNorm2d",
        "BN2d": "BatchNorm2d",
        "SyncBN": "SyncBatchNorm",
        "GN": "GroupNorm",
    },
    "act_cfg": {},
}
# The layers of torch.nn that each argument allows.
_ALLOWED = {
    "conv_cfg": ["Conv2d"],
    "norm_cfg": ["BatchNorm2d", "SyncBatchNorm", "InstanceNorm2d", "GroupNorm"],
    "act_cfg": nn.modules.activation.__all__,
}


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
    *,
    conv_cfg: Cfg | None,
    norm_cfg: Cfg,
) -> list[nn.Module]:
    """Build a 'same'-padded convolution without bias, and its normalisation.

    (N, in, H, W) to (N, out, ⌈H/stride⌉, ⌈W/stride⌉). ValueError if a layer's type is unknown, or
    the groups of GroupNorm do not divide the channels.
    """
    conv_kwargs = dict(conv_cfg or {"type": "Conv2d"})
    conv = _layer_class(conv_kwargs.pop("type"), "conv_cfg")(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        bias=False,
        **conv_kwargs,
    )
    return [conv, _norm(norm_cfg, out_channels)]


def activation(act_cfg: Cfg) -> nn.Module:
    """Build an activation, in-place if it can be, from ``act_cfg``; ValueError if it is unknown."""
    kwargs = dict(act_cfg)
    layer_class = _layer_class(kwargs.pop("type"), "act_cfg")
    if "inplace" in inspect.signature(layer_class).parameters:
        kwargs.setdefault("inplace", True)
    return layer_class(**kwargs)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Transpose the channels as (groups, C / groups): (N, C, H, W) to the same.

    torch's kernel is fastest and keeps the memory format, but ONNX has no such operator. Tracing,
    scripting, export and compilation see a reshape, which runtimes recognise as a shuffle.
    """
    if not torch.jit.is_scripting():
        if not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            return F.channel_shuffle(x, groups)
    n, c, h, w = x.shape
    x = x.reshape(n, groups, c // groups, h, w)
    return x.transpose(1, 2).reshape(n, c, h, w)


def squeeze_excitation(channels: int, unit_channels: int, reduction: int | None) -> list[nn.Module]:
    """Build squeeze-and-excitation for a branch of ``channels``; nothing if ``reduction`` is None.

    It squeezes to ``unit_channels / reduction`` channels; ValueError if that is less than one.
    """
    if reduction is None:
        return []
    if not isinstance(reduction, int) or not 1 <= reduction <= unit_channels:
        raise ValueError(
            f"se_reduction={reduction!r}: must be None or a whole number, 1 to the "
            f"{unit_channels} channels of the narrowest stage"
        )
    return [SqueezeExcitation(channels, unit_channels // reduction)]


def _norm(norm_cfg: Cfg, channels: int) -> nn.Module:
    kwargs = dict(norm_cfg)
    layer_class = _layer_class(kwargs.pop("type"), "norm_cfg")
    requires_grad = kwargs.pop("requires_grad", True)
    if layer_class is nn.GroupNorm:
        if not kwargs.get("num_groups") or channels % kwargs["num_groups"]:
            raise ValueError(
                f"norm_cfg={norm_cfg!r}: num_groups must divide every layer's channels, "
                f"and one layer has {channels}"
            )
        kwargs["num_channels"] = channels
        return layer_class(**kwargs).requires_grad_(requires_grad)
    return layer_class(channels, **kwargs).requires_grad_(requires_grad)


def _layer_class(layer_type: Any, argument: str) -> Any:
    """The class of a layer: given, of torch.nn, or registered in mmengine by mmcv or a user."""
    if not isinstance(layer_type, str):
        return layer_type
    names, allowed = _NAMES[argument], _ALLOWED[argument]
    name = names.get(layer_type, layer_type)
    found = getattr(nn, name) if name in allowed else MODELS.get(layer_type)
    if found is None:
        known = ", ".join(dict.fromkeys([*names, *allowed]))
        raise ValueError(
            f"{argument}: unknown type {layer_type!r}: must be {known} of torch.nn, or registered "
            "in mmengine.registry.MODELS"
        )
    return found
