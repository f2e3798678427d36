"""Faster copies of networks for inference, with the same outputs."""

import copy
import platform
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..backbones.shufflenet_v1 import ShuffleUnitV1
from ..backbones.shufflenet_v2 import ShuffleNetV2, ShuffleUnitV2

Channel = tuple[int, int]  # the tensor that contains a channel, and the channel's number in it


def optimize(model: nn.Module, *, compile: bool = False) -> nn.Module:
    """A faster copy of a network or a whole detector, for inference on the model's device.

    BatchNorm is folded. On an x86 CPU, the copy also uses channels-last maps, oneDNN's order of
    weights and fused activations, and the stages of ShuffleNet V2 read each channel where it was
    computed instead of shuffling in every unit. Outputs are equal up to float32 rounding.

    Args:
        model: A module with float32 weights, such as a backbone or an mmdet detector.
        compile: Use ``torch.compile`` for the backbone and the neck instead. This needs a C++
            compiler, and up to a minute for each new image size.
    """
    model = fold_norms(model)
    has_onednn = _has_onednn(model)
    if has_onednn:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compile:
        parts = [getattr(model, name) for name in ("backbone", "neck") if hasattr(model, name)]
        for part in parts or [model]:
            part.compile(options={"freezing": True})
    if compile or not has_onednn:
        return model
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(parent, ShuffleNetV2) and _is_plain_stage(child):
                setattr(parent, name, _StageV2(child))
            elif isinstance(child, ShuffleUnitV1) and len(_layers(child.expand)) == 1:
                setattr(parent, name, _UnitV1(child))
    for parent in list(model.modules()):
        _fuse_children(parent)
    return model


def fold_norms(model: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode, with each BatchNorm folded into its convolution.

    A BatchNorm is folded if it follows the convolution in a module that runs its children in
    sequence: a ``Sequential`` or mmcv's ``ConvModule``.
    """
    model = copy.deepcopy(model).eval()
    parent: Any
    for parent in model.modules():
        for first, second in _successors(parent):
            conv, norm = getattr(parent, first), getattr(parent, second)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm):
                setattr(parent, first, fuse_conv_bn_eval(conv, norm))
                setattr(parent, second, nn.Identity())
    return model


def _successors(parent: Any) -> list[tuple[str, str]]:
    """Pairs of names of children where the first child's output is the second child's input."""
    if isinstance(parent, nn.Sequential):
        return list(pairwise(name for name, _ in parent.named_children()))
    if type(parent).__name__ != "ConvModule" or parent.order[0] != "conv":
        return []
    names = {"norm": parent.norm_name if parent.with_norm else None, "act": "activate"}
    chain = ["conv", *(names[layer] for layer in parent.order[1:])]
    return list(pairwise(name for name in chain if name is not None and hasattr(parent, name)))


def _has_onednn(model: nn.Module) -> bool:
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and all(p.device.type == "cpu" and p.dtype == torch.float32 for p in model.parameters())
    )


class _Conv(nn.Module):
    """A convolution fused with its activation by oneDNN.

    It uses Inductor's operators, which take weights that were reordered before the call.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        act: nn.Module | None = None,
        *,
        inputs: Sequence[int] | None = None,
        outputs: Sequence[int] | None = None,
    ) -> None:
        """``inputs`` and ``outputs`` are the convolution's channels in the order of the input and
        of the output; None: its own order."""
        super().__init__()
        weight = conv.weight.detach()
        bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
        if inputs is not None:
            weight = weight[:, inputs]
        if outputs is not None:
            weight, bias = weight[outputs], bias[outputs]
        self.geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self.weight = nn.Parameter(weight.clone(), requires_grad=False)
        self.bias = nn.Parameter(bias.clone(), requires_grad=False)
        attributes = _attributes(act)
        assert attributes is not None
        self.attributes = attributes
        self._reordered: tuple[torch.Size, Tensor] | None = None  # the maps' shape and the weight

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """The activation of the convolution, or (ReLU or none) of its sum with ``added``."""
        x = x.contiguous(memory_format=torch.channels_last)
        shape, weight = self._reordered or (None, None)
        if shape != x.shape:  # the best order of weights depends on the shape
            weight = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self.geometry, x.shape
            )
            self._reordered = x.shape, weight
        conv = weight, self.bias, *self.geometry
        if added is None:
            return torch.ops.mkldnn._convolution_pointwise(x, *conv, *self.attributes, "")
        act = None if self.attributes[0] == "none" else "relu"
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, added, *conv, "add", 1.0, act, [], ""
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the reordered weights, which can be neither copied nor saved."""
        return {**super().__getstate__(), "_reordered": None}


def _attributes(act: nn.Module | None) -> tuple[str, list[float]] | None:
    """oneDNN's name and parameters of an activation; None if oneDNN does not have it."""
    if act is None:
        return "none", []
    if isinstance(act, nn.LeakyReLU):
        return "leaky_relu", [act.negative_slope]
    if isinstance(act, nn.ReLU6):
        return "hardtanh", [0.0, 6.0]
    name = {nn.ReLU: "relu", nn.SiLU: "swish", nn.Hardswish: "hardswish"}.get(type(act))
    return (name, []) if name else None


def _fuse_children(parent: nn.Module) -> None:
    """Replace a module's convolutions, each together with the activation that follows it."""
    following = dict(_successors(parent))
    for name, conv in list(parent.named_children()):
        if type(conv) is not nn.Conv2d or conv.padding_mode != "zeros" or conv.padding == "same":
            continue
        act_name = following.get(name)
        while act_name is not None and isinstance(getattr(parent, act_name), nn.Identity):
            act_name = following.get(act_name)
        act = getattr(parent, act_name) if act_name else None
        if _attributes(act) is None or act_name is None:
            act = None
        else:
            setattr(parent, act_name, nn.Identity())
        setattr(parent, name, _Conv(conv, act))


def _layers(sequence: nn.Module) -> list[Any]:
    return [layer for layer in sequence.children() if not isinstance(layer, nn.Identity)]


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """``channel_shuffle`` of channels-last maps, with strided copies where these are faster."""
    each = x.size(1) // groups
    few = min(groups, each)
    if few not in (3, 4):
        return F.channel_shuffle(x, groups)
    x = x.permute(0, 2, 3, 1)
    out = torch.empty_like(x)
    blocks, strided = (x.chunk(few, dim=3), [out[..., i::few] for i in range(few)])
    if groups > each:
        blocks, strided = out.chunk(few, dim=3), [x[..., i::few] for i in range(few)]
    for block, every in zip(blocks, strided, strict=True):
        if groups > each:
            block.copy_(every)
        else:
            every.copy_(block)
    return out.permute(0, 3, 1, 2)


class _UnitV1(nn.Module):
    """A unit of ShuffleNet V1 with the sum and the activations fused into its convolutions."""

    def __init__(self, unit: ShuffleUnitV1) -> None:
        super().__init__()
        self.stride, self.concatenates = unit.stride, unit.concatenates
        self.act, self.shuffle_groups = unit.act, unit.shuffle_groups
        self.compress, self.depthwise = unit.compress, unit.depthwise
        self.fuses = self.concatenates or isinstance(unit.act, nn.ReLU)
        self.expand = _Conv(_layers(unit.expand)[0], unit.act if self.fuses else None)

    def forward(self, x: Tensor) -> Tensor:
        out = self.compress(x)
        if self.shuffle_groups > 1:
            out = _shuffle(out, self.shuffle_groups)
        out = self.depthwise(out)
        if not self.concatenates:
            out = self.expand(out, x)
            return out if self.fuses else self.act(out)
        shortcut = F.avg_pool2d(x, 3, stride=2, padding=1) if self.stride == 2 else x
        return torch.cat((self.act(shortcut), self.expand(out)), dim=1)


def _is_plain_stage(stage: nn.Module) -> bool:
    units = list(stage.children())
    return all(
        isinstance(unit, ShuffleUnitV2)
        and not unit.parity
        and not unit.residual
        and unit.splits == (i > 0)
        and isinstance(_layers(unit.branch2)[-1], nn.Conv2d)  # no squeeze-and-excitation
        and _attributes(unit.act) is not None
        for i, unit in enumerate(units)
    ) and bool(units)


class _StageV2(nn.Module):
    """A stage of ShuffleNet V2 that moves a channel only when a unit transforms it.

    Each unit passes half of its channels on unchanged, and its shuffle selects the channels that
    the next unit transforms. The selection is fixed. So permuted weights make each tensor hold its
    channels in the order of their use, and a unit reads slices of earlier tensors. Only the output
    has the usual order of channels: there, the rest of a tensor is every second, fourth, eighth …
    channel.
    """

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        units: list[Any] = list(stage.children())
        first = units[0]
        made = [_layers(branch)[-1] for branch in (first.branch1, first.branch2)]
        widths = [_layers(first.branch1)[-2].out_channels, made[1].out_channels]
        self.channels = sum(widths)
        half = self.channels // 2
        widths += [half] * (len(units) - 1)
        state = _shuffled([(i, k) for i in (0, 1) for k in range(widths[i])])
        wanted = []
        for i in range(1, len(units)):
            wanted.append(state[half:])
            state = _shuffled([*state[:half], *((i + 1, k) for k in range(half))])
        # Order the channels of each tensor by the unit that uses them, then by their number.
        needed = {channel: i for i, batch in enumerate([*wanted, state]) for channel in batch}
        order = [sorted(range(n), key=lambda k: (needed[t, k], k)) for t, n in enumerate(widths)]
        place = {(t, k): i for t, ks in enumerate(order) for i, k in enumerate(ks)}

        def chain(layers: list[Any], act: nn.Module, outputs: Sequence[int]) -> nn.Sequential:
            """Fuse layers; the last convolution computes the channels ``outputs``."""
            acts = [layer if _attributes(layer) else None for layer in [*layers[1:], act]]
            convs = zip(layers, acts, strict=True)
            fused = [_Conv(c, a) for c, a in convs if isinstance(c, nn.Conv2d)]
            last = next(c for c in reversed(layers) if isinstance(c, nn.Conv2d))
            return nn.Sequential(*fused[:-1], _Conv(last, act, outputs=outputs))

        self.branch1 = chain(_layers(first.branch1)[:-1], first.act, order[0])
        self.branch2 = chain(
            _layers(first.extra_depthwise) + _layers(first.branch2), first.act, order[1]
        )
        self.units = nn.ModuleList()
        self.slices = []
        for i, (unit, batch) in enumerate(zip(units[1:], wanted, strict=True)):
            batch_order = sorted(range(half), key=lambda j: (batch[j][0], place[batch[j]]))
            self.slices.append(_runs(place, [batch[j] for j in batch_order]))
            layers = _layers(unit.branch2)
            depthwise = [_Conv(conv, outputs=batch_order) for conv in _layers(unit.extra_depthwise)]
            unit_chain = chain(layers, unit.act, order[i + 2])
            unit_chain[0] = _Conv(layers[0], layers[1], inputs=batch_order)
            self.units.append(nn.Sequential(*depthwise, *unit_chain))
        self.left = []  # (tensor, its slice of the stage's output, first channel that goes there)
        for t, ks in enumerate(order):
            places = [i for i, channel in enumerate(state) if channel[0] == t]
            if places:
                step = places[1] - places[0] if len(places) > 1 else 1
                self.left.append((t, slice(places[0], places[-1] + 1, step), len(ks) - len(places)))

    def forward(self, x: Tensor) -> Tensor:
        made = [self.branch1(x), self.branch2(x)]
        for slices, unit in zip(self.slices, self.units, strict=True):
            pieces = [made[t].narrow(1, start, length) for t, start, length in slices]
            made.append(unit(torch.cat(pieces, dim=1)))
        n, _, height, width = made[0].shape
        out = x.new_empty(n, height, width, self.channels)
        for t, places, start in self.left:
            out[..., places] = made[t].permute(0, 2, 3, 1)[..., start:]
        return out.permute(0, 3, 1, 2)


def _shuffled(channels: Sequence[Channel]) -> list[Channel]:
    half = len(channels) // 2
    return [channels[i % 2 * half + i // 2] for i in range(len(channels))]


def _runs(place: dict[Channel, int], channels: Iterable[Channel]) -> list[tuple[int, int, int]]:
    """Group channels into slices: (tensor, start, length)."""
    runs = []
    for t, of_tensor in groupby(channels, key=lambda channel: channel[0]):
        places = [place[channel] for channel in of_tensor]
        runs.append((t, places[0], len(places)))
    return runs
