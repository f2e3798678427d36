"""Parameters and multiply-adds, by torch's own counter.

Counted are convolutions and matrix products, as both ShuffleNet papers count them, a multiply-add
as one operation; biases, normalisation, activation, pooling, resizing, RoIAlign and NMS are not.
torch's ``FlopCounterMode`` does that, on the meta device, too, where nothing is computed, and sees
every operator that runs. (mmengine's ``get_model_complexity_info`` adds normalisation, so that V1's
137 M become 142 M, and needs a trace of the network.)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
import torchvision  # noqa: F401  # registers torch.ops.torchvision
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from ..backbones.base import LevelBackbone


class Part(NamedTuple):
    """What one part of a network costs.

    Attributes:
        name: Its attribute in the network; 'other' for what is in none, 'total' for all parts.
        parameters: Trainable or not, without buffers.
        multiply_adds: Of one forward pass.
    """

    name: str
    parameters: int
    multiply_adds: int


def count(network: nn.Module, *args: Any, **kwargs: Any) -> list[Part]:
    """Count what one call of a network costs, one part for each of its children.

    What a module computes belongs to the child that it is in, also where only methods of the child
    are called. Parameters that children share belong to the first of them. Deformable convolutions
    count as plain ones where they run on torchvision's operator, as they do without a compiled
    mmcv; a compiled one hides its own from every counter.

    Returns:
        The children that have parameters or multiply-adds, in the network's order, and the total.
    """
    children = dict(network.named_children())
    parameters: Counter[str] = Counter()
    for name, parameter in network.named_parameters():
        child = name.partition(".")[0]
        parameters[child if child in children else "other"] += parameter.numel()

    deformable = {
        torch.ops.torchvision.deform_conv2d: lambda image, weight, *_, out_shape, **__: (
            conv_flop_count(image, weight, out_shape)
        )
    }
    counter = FlopCounterMode(display=False, custom_mapping=deformable)
    with torch.no_grad(), counter:
        network(*args, **kwargs)
    counted = {name: sum(c.values()) for name, c in counter.get_flop_counts().items()}
    flops: Counter[str] = Counter()
    for name, flop in counted.items():
        # What is counted for a module holds what is counted for those in it.
        _, *path = name.split(".")
        outer = (".".join((type(network).__name__, *path[:end])) for end in range(1, len(path)))
        if path and not any(module in counted for module in outer):
            flops[path[0]] += flop
    flops["other"] = counted.get("Global", 0) - flops.total()
    parts = [Part(name, parameters[name], flops[name] // 2) for name in (*children, "other")]
    return _with_total([part for part in parts if part.parameters or part.multiply_adds])


def backbone_complexity(
    backbone: str,
    options: Mapping[str, Any] | None = None,
    shape: Sequence[int] = (224, 224),
    classes: int | None = None,
) -> list[Part]:
    """Count a backbone by its stages, without computing anything.

    Args:
        backbone: Its name in mmdet's registry, such as 'ShuffleNetV2'.
        options: Its arguments.
        shape: Height and width of the image in pixels.
        classes: Count a classifier, too: global pooling and one linear layer to so many classes,
            without bias as in the authors' code, behind the last map. This package's backbones
            are counted up to their last level then.

    Returns:
        The stem, the stages, the classifier if there is one, and the total.
    """
    from mmdet.registry import MODELS

    height, width = _checked(shape)
    if classes is not None and classes < 1:
        raise ValueError(f"classes={classes!r}: must be 1 or more")
    init_default_scope("mmdet")
    network_class = MODELS.get(backbone)
    if network_class is None:
        raise ValueError(
            f"backbone {backbone!r} is not registered: 'ShuffleNetV1', 'ShuffleNetV2' and mmdet's "
            "are, such as 'ResNet'"
        )
    options = dict(options or {})
    ours = issubclass(network_class, LevelBackbone)
    if classes is not None and ours:
        options["out_indices"] = (network_class.LAST_LEVEL,)
    try:
        with torch.device("meta" if ours else "cpu"):  # some of mmdet's read values to be built
            network = network_class(**options).to("meta")
    except TypeError as error:
        raise ValueError(f"{backbone} with {options}: {error}") from error
    network.eval()
    image = torch.empty(1, 3, height, width, device="meta")
    *parts, total = count(network, image)
    if classes is None:
        return [*parts, total]
    weights = network(image)[-1].shape[1] * classes
    return _with_total([*parts, Part("classifier", weights, weights)])


def detector_complexity(model: Mapping[str, Any], shape: Sequence[int]) -> list[Part]:
    """Count a detector, or a classifier, with one image on the CPU and random weights.

    Counted is mmdet's ``mode='tensor'``: everything up to the heads' last layers. A RoI head gets
    as many proposals as :func:`proposals_of` says, where scores would leave fewer in some images; a
    mask head gets as many of them as this mode has it, a hundred, or all in a cascade.

    Args:
        model: The ``model`` of an mmdet config. It stays as it is, and weights that it names are
            not loaded.
        shape: Height and width of the image in pixels, padding included.

    Returns:
        The children of the model, such as ``backbone`` and ``roi_head``, and the total.
    """
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample

    size = _checked(shape)
    init_default_scope("mmdet")
    try:
        detector = MODELS.build(deepcopy(dict(model)))
    except (KeyError, TypeError) as error:
        raise ValueError(*error.args) from error
    detector.eval()
    if getattr(detector, "with_roi_head", False) and not detector.with_rpn:
        raise ValueError(
            f"{model['type']} has a RoI head and no RPN: how many proposals it gets is up to a "
            "file of them, so it cannot be counted"
        )
    proposals = proposals_of(model)
    if proposals is not None:
        predict = detector.rpn_head.predict

        def predict_all(*args: Any, **kwargs: Any) -> list[InstanceData]:
            # Where RoIs lie does not matter for what they cost.
            return [
                InstanceData(bboxes=torch.zeros(proposals, 4)) for _ in predict(*args, **kwargs)
            ]

        detector.rpn_head.predict = predict_all
    sizes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), size)
    sample = DetDataSample(metainfo={**sizes, "scale_factor": (1.0, 1.0)})
    # A few, as Sparse R-CNN, read it in this mode.
    sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0))
    return count(detector, torch.zeros(1, 3, *size), [sample], mode="tensor")


def proposals_of(model: Mapping[str, Any]) -> int | None:
    """The limit of a detector's proposals, ``test_cfg.rpn.max_per_img``; None if there is none."""
    if not model.get("rpn_head") or not model.get("roi_head"):
        return None
    return (model["test_cfg"].get("rpn") or {}).get("max_per_img")


def _with_total(parts: list[Part]) -> list[Part]:
    parameters = sum(part.parameters for part in parts)
    return [*parts, Part("total", parameters, sum(part.multiply_adds for part in parts))]


def _checked(shape: Sequence[int]) -> tuple[int, int]:
    if len(shape) != 2 or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(f"shape={tuple(shape)!r}: must be height and width, in pixels")
    return shape[0], shape[1]
