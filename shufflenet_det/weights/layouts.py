"""What published checkpoints call their tensors, and what their networks compute.

A layout is one source's names for the modules of ShuffleNet V1 or V2, and what the names do not
tell: which way channels are shuffled, where a concatenation puts the pooled input, what is missing
in the stem. Each was read in the source's own code, which is named beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..backbones.shufflenet_v1 import REPEATS


@dataclass(frozen=True)
class Pixels:
    """The images that weights were trained on, as mmdet's ``data_preprocessor`` says it.

    Attributes:
        mean: Subtracted from each channel, in units of 0 to 255, in the order of the channels.
        std: What the difference is divided by.
        bgr_to_rgb: Whether images, which mmdet reads as BGR, are turned into RGB.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr_to_rgb: bool

    @classmethod
    def of(cls, data_preprocessor: Mapping[str, Any]) -> "Pixels":
        """What mmdet's ``DetDataPreprocessor`` makes of its arguments."""
        mean = data_preprocessor.get("mean") or (0, 0, 0)
        std = data_preprocessor.get("std") or (1, 1, 1)
        turned = data_preprocessor.get("bgr_to_rgb") or data_preprocessor.get("rgb_to_bgr")
        return cls(tuple(map(float, mean)), tuple(map(float, std)), bool(turned))

    def data_preprocessor(self) -> dict[str, Any]:
        """``mean``, ``std`` and ``bgr_to_rgb`` of mmdet's ``DetDataPreprocessor``."""
        return {"mean": list(self.mean), "std": list(self.std), "bgr_to_rgb": self.bgr_to_rgb}


IMAGENET_RGB = Pixels((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), True)
IMAGENET_BGR = Pixels((103.53, 116.28, 123.675), (57.375, 57.12, 58.395), False)
BGR_0_255 = Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False)


@dataclass(frozen=True)
class Layout:
    """One source's names for a network, and what the names do not tell.

    Attributes:
        title: The source, as a sentence names it.
        network: The class here that the tensors belong to.
        stem: Convolution and normalisation of the stem; no normalisation is ''.
        unit: How the names of a unit begin; ``{level}`` counts stages from 1, ``{index}`` from 0,
            ``{number}`` counts a stage's units from 1, ``{unit}`` from 0, ``{flat}`` all from 0.
        first: Modules of a stage's first unit, in the order of :data:`OURS`.
        rest: Modules of its other units.
        last: Convolution and normalisation of conv5; empty for V1.
        classifier: Names of the classifier's linear layer.
        computes: The arguments of ``network`` that decide what the tensors compute and that no
            shape shows; empty where a file does not tell.
        shuffle_last: V1: channels are shuffled after the depthwise convolution, not before it.
        pooled_last: V1: a concatenation puts the pooled input last, not first.
        act_cfg: The activation that the source's networks are trained with.
        pixels: What they are trained on.
    """

    title: str
    network: str
    stem: tuple[str, str]
    unit: str
    first: tuple[str, ...]
    rest: tuple[str, ...]
    last: tuple[str, ...] = ()
    classifier: tuple[str, ...] = ("fc",)
    computes: Mapping[str, Any] = field(default_factory=dict)
    shuffle_last: bool = False
    pooled_last: bool = False
    act_cfg: Mapping[str, Any] = field(default_factory=lambda: {"type": "ReLU"})
    pixels: Pixels = IMAGENET_RGB

    def anchors(self) -> tuple[str, str]:
        """Two tensors that every file of this layout has; the first begins its network."""
        return f"{self.stem[0]}.weight", f"{self._unit(0, 0)}{self.first[0]}.weight"

    def modules(self) -> dict[str, str]:
        """Our name of every module, by the source's."""
        ours = OURS[self.network]
        pairs = [*zip(self.stem, ours.stem, strict=True)]
        pairs += zip(self.last, ours.last, strict=True)
        for stage, repeats in enumerate(REPEATS):
            for unit in range(repeats):
                theirs, own = (
                    [f"{x._unit(stage, unit)}{module}" for module in (x.rest if unit else x.first)]
                    for x in (self, ours)
                )
                pairs += zip(theirs, own, strict=True)
        return {theirs: own for theirs, own in pairs if theirs}

    def _unit(self, stage: int, unit: int) -> str:
        return self.unit.format(
            index=stage,
            level=stage + 1,
            stage=stage + 2,
            unit=unit,
            number=unit + 1,
            flat=sum(REPEATS[:stage]) + unit,
        )


def _sequence(pattern: str, *numbers: int) -> tuple[str, ...]:
    return tuple(pattern.format(n) for n in numbers)


_OURS_V1 = (*_sequence("compress.{}", 0, 1), *_sequence("depthwise.{}", 0, 1))
_OURS_V1 += _sequence("expand.{}", 0, 1)
_BRANCH1 = _sequence("branch1.{}", 0, 1, 2, 3)
_BRANCH2 = _sequence("branch2.{}", 0, 1, 3, 4, 5, 6)
_MAIN = _sequence("branch_main.{}", 0, 1, 3, 4, 5, 6)


def _ours(network: str, first: tuple[str, ...], rest: tuple[str, ...]) -> Layout:
    return Layout(
        title=f"this package's {network.removeprefix('ShuffleNet')}",
        network=network,
        stem=("conv1.0", "conv1.1"),
        unit="stage{stage}.{unit}.",
        first=first,
        rest=rest,
        last=("conv5.0", "conv5.1") if network == "ShuffleNetV2" else (),
        classifier=("head.fc", "fc"),
    )


# Names of this package: V2's are torchvision's. The first module of ``first`` tells them apart.
OURS = {
    layout.network: layout
    for layout in (
        _ours("ShuffleNetV1", _OURS_V1, _OURS_V1),
        _ours("ShuffleNetV2", _BRANCH1 + _BRANCH2, _BRANCH2),
        _ours("MobileNetV1", ("pointwise.0",), ("pointwise.0",)),
        _ours("Xception", ("shortcut.0",), ()),
    )
}


def _conv_bn(names: tuple[str, ...], *leaves: str) -> tuple[str, ...]:
    return tuple(f"{name}.{leaf}" for name in names for leaf in leaves)


def _paddle(*leaves: str) -> dict[str, Any]:
    branch1 = ("_conv_dw_1", "_conv_linear_1")
    branch2 = ("_conv_pw_2", "_conv_dw_2", "_conv_linear_2")
    return {
        "network": "ShuffleNetV2",
        "stem": _conv_bn(("_conv1",), *leaves),
        "unit": "{stage}_{number}.",
        "first": _conv_bn(branch1 + branch2, *leaves),
        "rest": _conv_bn(("_conv_pw", "_conv_dw", "_conv_linear"), *leaves),
        "last": _conv_bn(("_last_conv",), *leaves),
        "classifier": ("fc", "_fc"),
        "computes": {"layout": "torchvision"},
    }


_MEGVII_V1 = _sequence("branch_main_1.{}", 0, 1, 3, 4) + _sequence("branch_main_2.{}", 0, 1)
_OPENMMLAB_V1 = _conv_bn(
    ("g_conv_1x1_compress", "depthwise_conv3x3_bn", "g_conv_1x1_expand"), "conv", "bn"
)
_JAXONY_V1 = (
    *_conv_bn(("g_conv_1x1_compress",), "conv1x1", "batch_norm"),
    *("depthwise_conv3x3", "bn_after_depthwise"),
    *_conv_bn(("g_conv_1x1_expand",), "conv1x1", "batch_norm"),
)
_PYTORCHCV_V1 = (
    *("compress_conv1", "compress_bn1", "dw_conv2", "dw_bn2"),
    *("expand_conv3", "expand_bn3"),
)
_PYTORCHCV_V2B = _conv_bn(("conv1", "dconv", "conv2"), "conv", "bn")

LAYOUTS: dict[str, Layout] = {
    # mmpretrain/models/backbones/shufflenet_v1.py
    "openmmlab_v1": Layout(
        title="OpenMMLab's V1",
        network="ShuffleNetV1",
        stem=("conv1.conv", "conv1.bn"),
        unit="layers.{index}.{unit}.",
        first=_OPENMMLAB_V1,
        rest=_OPENMMLAB_V1,
        classifier=("head.fc",),
        computes={"shuffle": "paper"},
        shuffle_last=True,
    ),
    # megvii-model/ShuffleNet-Series: ShuffleNetV1/blocks.py, network.py, train.py (images)
    "megvii_v1": Layout(
        title="the authors' V1",
        network="ShuffleNetV1",
        stem=("first_conv.0", "first_conv.1"),
        unit="features.{flat}.",
        first=_MEGVII_V1,
        rest=_MEGVII_V1,
        classifier=("classifier.0",),
        computes={"shuffle": "inverse"},
        shuffle_last=True,
        pixels=BGR_0_255,
    ),
    # osmr/imgclsmob: pytorch/pytorchcv/models/shufflenet.py
    "pytorchcv_v1": Layout(
        title="pytorchcv's V1",
        network="ShuffleNetV1",
        stem=("features.init_block.conv", "features.init_block.bn"),
        unit="features.stage{level}.unit{number}.",
        first=_PYTORCHCV_V1,
        rest=_PYTORCHCV_V1,
        classifier=("output",),
        computes={"shuffle": "paper"},
        pooled_last=True,
    ),
    # jaxony/ShuffleNet: model.py
    "jaxony_v1": Layout(
        title="jaxony's V1",
        network="ShuffleNetV1",
        stem=("conv1", ""),
        unit="stage{stage}.ShuffleUnit_Stage{stage}_{unit}.",
        first=_JAXONY_V1,
        rest=_JAXONY_V1,
        computes={"shuffle": "paper", "stem_act": False},
    ),
    # torchvision/models/shufflenetv2.py
    "torchvision": Layout(
        title="torchvision's V2",
        network="ShuffleNetV2",
        stem=("conv1.0", "conv1.1"),
        unit="stage{stage}.{unit}.",
        first=_BRANCH1 + _BRANCH2,
        rest=_BRANCH2,
        last=("conv5.0", "conv5.1"),
        computes={"layout": "torchvision"},
    ),
    # RangiLyu/nanodet: nanodet/model/backbone/shufflenetv2.py, config/nanodet-plus-m_320.yml
    "nanodet": Layout(
        title="NanoDet's V2",
        network="ShuffleNetV2",
        stem=("conv1.0", "conv1.1"),
        unit="stage{stage}.{unit}.",
        first=_BRANCH1 + _BRANCH2,
        rest=_BRANCH2,
        last=("stage4.conv5.0", "stage4.conv5.1"),
        computes={"layout": "torchvision"},
        act_cfg={"type": "LeakyReLU", "negative_slope": 0.1},
        pixels=IMAGENET_BGR,
    ),
    # mmpretrain/models/backbones/shufflenet_v2.py
    "openmmlab_v2": Layout(
        title="OpenMMLab's V2",
        network="ShuffleNetV2",
        stem=("conv1.conv", "conv1.bn"),
        unit="layers.{index}.{unit}.",
        first=_conv_bn(
            _sequence("branch1.{}", 0, 1) + _sequence("branch2.{}", 0, 1, 2), "conv", "bn"
        ),
        rest=_conv_bn(_sequence("branch2.{}", 0, 1, 2), "conv", "bn"),
        last=("layers.3.conv", "layers.3.bn"),
        classifier=("head.fc",),
        computes={"layout": "torchvision"},
    ),
    # megvii-model/ShuffleNet-Series: ShuffleNetV2/blocks.py, network.py
    "megvii_v2": Layout(
        title="the authors' V2",
        network="ShuffleNetV2",
        stem=("first_conv.0", "first_conv.1"),
        unit="features.{flat}.",
        first=_sequence("branch_proj.{}", 0, 1, 2, 3) + _MAIN,
        rest=_MAIN,
        last=("conv_last.0", "conv_last.1"),
        classifier=("classifier.0",),
        computes={"layout": "paper"},
        pixels=BGR_0_255,
    ),
    # osmr/imgclsmob: pytorch/pytorchcv/models/shufflenetv2.py
    "pytorchcv_v2": Layout(
        title="pytorchcv's V2",
        network="ShuffleNetV2",
        stem=("features.init_block.conv.conv", "features.init_block.conv.bn"),
        unit="features.stage{level}.unit{number}.",
        first=("dw_conv4", "dw_bn4", "expand_conv5", "expand_bn5", *_PYTORCHCV_V1),
        rest=_PYTORCHCV_V1,
        last=("features.final_block.conv", "features.final_block.bn"),
        classifier=("output",),
        computes={"layout": "pytorchcv"},
    ),
    # osmr/imgclsmob: pytorch/pytorchcv/models/shufflenetv2b.py
    "pytorchcv_v2b": Layout(
        title="pytorchcv's V2b",
        network="ShuffleNetV2",
        stem=("features.init_block.conv.conv", "features.init_block.conv.bn"),
        unit="features.stage{level}.unit{number}.",
        first=_conv_bn(("shortcut_dconv", "shortcut_conv"), "conv", "bn") + _PYTORCHCV_V2B,
        rest=_PYTORCHCV_V2B,
        last=("features.final_block.conv", "features.final_block.bn"),
        classifier=("output",),
        computes={"layout": "pytorchcv_b"},
    ),
    # PaddlePaddle/PaddleDetection: ppdet/modeling/backbones/shufflenet_v2.py
    "paddle": Layout(title="PaddlePaddle's V2", **_paddle("_conv", "_batch_norm")),
    # PaddlePaddle/Paddle: python/paddle/vision/models/shufflenetv2.py
    "paddle_vision": Layout(title="paddle.vision's V2", **_paddle("0", "1")),
}
