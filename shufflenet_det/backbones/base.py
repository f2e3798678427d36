"""The base class of the backbones: stem, stages, levels, freezing and gradient checkpointing."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any, ClassVar

import torch
from mmengine.model import BaseModule, PretrainedInit
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .layers import Cfg, activation, conv_norm

# The level of each part of a network; ``out_indices`` and ``frozen_stages`` are levels.
LEVELS = {"conv1": 0, "stage1": 0, "stage2": 1, "stage3": 2, "stage4": 3, "conv5": 4}
# Arguments that change neither a network's tensors nor its function.
_RUN_ARGUMENTS = ("out_indices", "frozen_stages", "norm_eval", "with_cp", "init_cfg")
DEFAULT_INIT: list[dict[str, Any]] = [
    {"type": "Kaiming", "layer": "Conv2d"},
    {"type": "Constant", "val": 1, "layer": ["_BatchNorm", "GroupNorm"]},
]

NETWORKS: dict[str, type["LevelBackbone"]] = {}  # every backbone of this package, by its name


class LevelBackbone(BaseModule):
    """A backbone whose levels are numbered as in mmdet's ResNet.

    Level 0 is the stem after max-pooling (stride 4), or the output of stage 1 if the network has
    one. Levels 1 to 3 are stages 2 to 4 (strides 8, 16, 32). Levels above the last of
    ``out_indices`` are not built, so every parameter gets a gradient. A subclass builds its parts
    in ``_make_part``.

    Attributes:
        out_channels: Channels of each output, in the order of ``out_indices``.
        out_strides: Stride of each output in pixels, in the same order.
        unbuilt_parts: Names of the parts above the last output.
        arguments: The arguments of the network, without those that concern only a run.
        images: The model's ``data_preprocessor``, if it is known; checkpoints state it.
    """

    arguments: dict[str, Any]
    images: Mapping[str, Any] | None = None

    # Arguments that change the function of the weights but no shape, with their defaults.
    UNSEEN: ClassVar[dict[str, Any]] = {}
    # The level of the network's last part.
    LAST_LEVEL: ClassVar[int] = 3
    # {widen_factor: channels of the parts, the stem first}, if the factor alone decides them.
    WIDTHS: ClassVar[dict[float, tuple[int, ...]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        NETWORKS.setdefault(cls.__name__, cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> "LevelBackbone":
        """Record the arguments, because the network's checkpoints state them."""
        network = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(network, *args, **kwargs)
        bound.apply_defaults()
        _, *named = bound.arguments.items()
        given = {k: v for k, v in named if k != "kwargs"} | bound.arguments.get("kwargs", {})
        network.arguments = {k: v for k, v in given.items() if k not in _RUN_ARGUMENTS}
        return network

    @classmethod
    def builds(cls, stem_channels: int) -> Iterator[dict[str, Any]]:
        """Arguments of every network with this stem, one for each set of shapes.

        Weights of other code are recognised with these networks.
        """
        for factor, row in cls.WIDTHS.items():
            if row[0] == stem_channels:
                yield {"widen_factor": factor}

    @classmethod
    def same_shapes(cls, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The changes to these arguments that leave all shapes as they are."""
        return [{}]

    @classmethod
    def _widths_of(cls, widen_factor: float) -> tuple[int, ...]:
        if widen_factor not in cls.WIDTHS:
            raise ValueError(f"widen_factor={widen_factor!r}: must be one of {sorted(cls.WIDTHS)}")
        return cls.WIDTHS[widen_factor]

    def __init__(
        self,
        widths: Mapping[str, int],
        stage_repeats: Sequence[int],
        *,
        out_indices: Sequence[int] = (1, 2, 3),
        frozen_stages: int = -1,
        conv_cfg: Cfg | None = None,
        norm_cfg: Cfg | None = None,
        act_cfg: Cfg | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: Cfg | list[Cfg] | None = None,
    ) -> None:
        """Build the levels.

        Args:
            widths: Channels of every part, by its name in ``LEVELS``, from the stem on.
            stage_repeats: Number of units of every stage.
            out_indices: Levels to return, ascending.
            frozen_stages: Freeze levels 0 to this one, parameters and normalisation; -1: none.
            conv_cfg: Config of the convolutions; None is ``Conv2d``.
            norm_cfg: Config of the normalisations; None is ``dict(type='BN')``.
            act_cfg: Config of the activations; None is ``dict(type='ReLU')``.
            norm_eval: Keep every BatchNorm in evaluation mode while training.
            with_cp: Gradient checkpointing: recompute the stages' units in the backward pass to
                save memory. The results, including running statistics, stay the same.
            init_cfg: mmengine's initialisation; None is that of mmdet's ResNet.

        Raises:
            ValueError: ``stage_repeats``, ``out_indices``, ``frozen_stages`` or the config of a
                layer is not legal.
        """
        super().__init__(init_cfg=DEFAULT_INIT if init_cfg is None else init_cfg)
        stages = [name for name in widths if name.startswith("stage")]
        given = tuple(stage_repeats) if isinstance(stage_repeats, Sequence) else ()
        if len(given) != len(stages) or not all(n in range(1, 1000) for n in given):
            raise ValueError(
                f"stage_repeats={stage_repeats!r}: must be {len(stages)} numbers of units, each "
                f"one or more, for {', '.join(stages)}"
            )
        self._repeats = dict(zip(stages, given, strict=True))
        last_level = LEVELS[list(widths)[-1]]
        self.out_indices = _checked_out_indices(out_indices, last_level)
        if not -1 <= frozen_stages <= last_level:
            raise ValueError(f"frozen_stages={frozen_stages}: must be -1 (none) to {last_level}")
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self._conv_norm_cfg = {"conv_cfg": conv_cfg, "norm_cfg": norm_cfg or {"type": "BN"}}
        self._act_cfg = act_cfg or {"type": "ReLU"}

        self._parts = {
            name: LEVELS[name] for name in widths if LEVELS[name] <= self.out_indices[-1]
        }
        self.unbuilt_parts = tuple(name for name in widths if name not in self._parts)
        in_channels, stride, outs = 3, 1, {}
        for name, level in self._parts.items():
            module, part_stride = self._make_part(name, in_channels, widths[name])
            self.add_module(name, module)
            if name == "conv1":
                self.maxpool, pool_stride = self._make_maxpool()
                part_stride *= pool_stride
            in_channels, stride = widths[name], stride * part_stride
            outs[level] = in_channels, stride
        self.out_channels, self.out_strides = zip(*(outs[i] for i in self.out_indices), strict=True)
        self._freeze()
        self.register_state_dict_post_hook(_state_network)

    def _make_part(self, name: str, in_channels: int, out_channels: int) -> tuple[nn.Module, int]:
        """Build one part; returns its module and its stride, without the max-pooling."""
        raise NotImplementedError

    def _make_maxpool(self) -> tuple[nn.Module, int]:
        """Build the layer after conv1; returns the layer and its stride."""
        return nn.MaxPool2d(kernel_size=3, stride=2, padding=1), 2

    def _make_stage(
        self,
        unit: Callable[..., nn.Module],
        name: str,
        in_channels: int,
        out_channels: int,
        stride: int = 2,
        *,
        first: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> nn.Sequential:
        """Build a stage; only its first unit has ``stride`` and the options in ``first``."""
        options |= {"conv_norm_cfg": self._conv_norm_cfg, "act_cfg": self._act_cfg}
        units = [unit(in_channels, out_channels, stride, **{**options, **(first or {})})]
        for _ in range(self._repeats[name] - 1):
            units.append(unit(out_channels, out_channels, 1, **options))
        return nn.Sequential(*units)

    def _conv_norm_act(self, *args: int) -> nn.Sequential:
        return nn.Sequential(
            *conv_norm(*args, **self._conv_norm_cfg),  # type: ignore[arg-type]
            activation(self._act_cfg),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            x: Images, (N, 3, H, W).

        Returns:
            One map for each of ``out_indices``, (N, C_i, ⌈H/s_i⌉, ⌈W/s_i⌉) with C_i of
            ``out_channels`` and s_i of ``out_strides``.

        Raises:
            TypeError: Images and weights have different dtypes.
        """
        weights = next(self.parameters(), x)
        if x.dtype != weights.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"the images are {x.dtype} and the weights of {type(self).__name__} are "
                f"{weights.dtype}: instead of half(), use torch.autocast({x.device.type!r}, "
                "torch.bfloat16)"
            )
        outs = {}
        for name, level in self._parts.items():
            x = self._run(name, x)
            if name == "conv1":
                x = self.maxpool(x)
            if level in self.out_indices:
                outs[level] = x
        return tuple(outs.values())

    def __prepare_scriptable__(self) -> nn.Module:
        """The module that ``torch.jit.script`` compiles; it returns a list instead of a tuple."""
        return _Scriptable(self)

    def train(self, mode: bool = True) -> "LevelBackbone":
        """Set training mode; frozen parts stay in evaluation mode. Returns self."""
        super().train(mode)
        self._freeze()
        if self.norm_eval:
            norms_to_eval(self)
        return self

    def init_weights(self) -> None:
        """Initialise by ``init_cfg``; ``Pretrained`` weights load completely or raise."""
        init_cfgs = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg
        for cfg in init_cfgs:
            if cfg["type"] in ("Pretrained", PretrainedInit):
                # weights/ imports this module, so it is imported only here.
                from ..weights import load_pretrained

                load_pretrained(self, **{k: v for k, v in cfg.items() if k != "type"})
                self.is_init = True
                return
        super().init_weights()

    def _freeze(self) -> None:
        for name, level in self._parts.items():
            if level <= self.frozen_stages:
                getattr(self, name).eval().requires_grad_(False)

    def _run(self, name: str, x: Tensor) -> Tensor:
        part = getattr(self, name)
        in_units = self.with_cp and self.training and name.startswith("stage")
        return run_checkpointed(part, x) if in_units else part(x)


class _Scriptable(nn.Module):
    """The backbone without ``getattr``, which TorchScript cannot compile."""

    def __init__(self, backbone: LevelBackbone) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        for name in backbone._parts:
            part = getattr(backbone, name)
            self.parts.append(nn.Sequential(part, backbone.maxpool) if name == "conv1" else part)
        last = {level: i for i, level in enumerate(backbone._parts.values())}
        self.returned = [last[level] for level in backbone.out_indices]

    def forward(self, x: Tensor) -> list[Tensor]:
        outs: list[Tensor] = []
        for i, part in enumerate(self.parts):
            x = part(x)
            if i in self.returned:
                outs.append(x)
        return outs


def norms_to_eval(network: nn.Module) -> None:
    """Set every BatchNorm to evaluation mode, as ``norm_eval`` does."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def map_channels(backbone: nn.Module) -> list[int]:
    """The channels of the maps of a backbone, also of mmdet's, from a run on the meta device."""
    backbone = deepcopy(backbone).to("meta")
    backbone.eval()  # train() of some of mmdet's returns None, so the calls cannot be chained
    with torch.no_grad():
        return [m.shape[1] for m in backbone(torch.empty(1, 3, 64, 64, device="meta"))]


def run_checkpointed(stage: nn.Module, x: Tensor) -> Tensor:
    """Compute ``stage(x)``; the backward pass runs each unit again (``with_cp``)."""
    if not torch.is_grad_enabled():
        return stage(x)
    for unit in stage.children():
        contexts = partial(_recompute_contexts, unit)
        x = checkpoint(unit, x, use_reentrant=False, context_fn=contexts)
    return x


def _state_network(
    module: LevelBackbone, state: dict[str, Tensor], prefix: str, metadata: dict[str, Any]
) -> None:
    """Record the network in the metadata of its state_dict."""
    metadata["network"] = {"type": type(module).__name__, "arguments": plain(module.arguments)}
    if module.images:
        metadata["network"]["data_preprocessor"] = plain(module.images)


def plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that JSON can represent, as plain values, which a checkpoint may contain."""
    stated = {}
    for key, value in arguments.items():
        try:
            stated[key] = json.loads(json.dumps(value))
        except TypeError:
            continue
    return stated


def _recompute_contexts(unit: nn.Module) -> tuple[Any, Any]:
    return nullcontext(), _running_statistics_kept(unit)


@contextmanager
def _running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of BatchNorm unchanged during recomputation."""
    before = []
    for norm in module.modules():
        if isinstance(norm, _BatchNorm) and norm.num_batches_tracked is not None:
            counter = norm.num_batches_tracked
            before.append((norm, norm.momentum, counter, counter.clone()))
            norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, counter, batches in before:
            norm.momentum = momentum
            counter.copy_(batches)


def _checked_out_indices(out_indices: Sequence[int], last_level: int) -> tuple[int, ...]:
    indices = tuple(out_indices) if isinstance(out_indices, Sequence) else ()
    legal = all(isinstance(i, int) and 0 <= i <= last_level for i in indices)
    if not indices or not legal or list(indices) != sorted(set(indices)):
        raise ValueError(
            f"out_indices={out_indices!r}: must be ascending levels from 0 to {last_level}, "
            "without repeats"
        )
    return indices
