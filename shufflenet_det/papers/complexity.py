"""Count parameters and multiply-adds with torch's ``FlopCounterMode``.

As in both ShuffleNet papers, only convolutions and matrix products count, and a multiply-add is one
operation. ``FlopCounterMode`` sees every operator that runs, also on the meta device, where nothing
is computed. mmengine's ``get_model_complexity_info`` also counts normalisation, which makes 142 M
of V1's 137 M, and must trace the network.
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
    """The cost of one part of a network.

    Attributes:
        name: Attribute name in the network; 'other' for what belongs to no child, 'total' for all.
        parameters: Number of parameters, trainable or not. Buffers do not count.
        multiply_adds: Multiply-adds of one forward pass.
    """

    name: str
    parameters: int
    multiply_adds: int


def count(network: nn.Module, *args: Any, **kwargs: Any) -> list[Part]:
    """Count the cost of one call of a network, by its children.

    Operations count for the child that contains the module which runs them, even if only methods of
    the child are called. Parameters that children share count for the first one. Deformable
    convolutions count as plain ones if they run on torchvision's operator, as they do without a
    compiled mmcv. No counter sees the operators of a compiled mmcv.

    Returns:
        The children with parameters or multiply-adds, in the network's order, and the total.
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
        # The count of a module includes the modules inside it: add only the outermost ones.
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
        backbone: Name in mmdet's registry, such as 'ShuffleNetV2'.
        options: Arguments of the backbone.
        shape: Height and width of the image in pixels.
        classes: Also count a classifier with this many classes after the last feature map: global
            pooling and a linear layer without bias, as in the authors' code. A backbone of this
            package is then counted up to its last level.

    Returns:
        The stem, the stages, the classifier if requested, and the total.
    """
    from mmdet.registry import MODELS

    height, width = _checked(shape)
    if classes is not None and classes < 1:
        raise ValueError(f"classes={classes!r}: must be 1 or more")
    init_default_scope("mmdet")
    network_class = MODELS.get(backbone)
    if network_class is None:
        raise ValueError(
            f"backbone {backbone!r} is not registered: use 'ShuffleNetV1', 'ShuffleNetV2' or one "
            "of mmdet's, such as 'ResNet'"
        )
    options = dict(options or {})
    ours = issubclass(network_class, LevelBackbone)
    if classes is not None and ours:
        options["out_indices"] = (network_class.LAST_LEVEL,)
    try:
        # Some backbones of mmdet read tensor values in __init__.
        with torch.device("meta" if ours else "cpu"):
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

    The forward pass is mmdet's ``mode='tensor'``, which ends at the last layers of the heads. A RoI
    head always gets the maximum number of proposals, :func:`proposals_of`, because scores would
    leave fewer for some images. A mask head gets 100 RoIs, as in this mode of mmdet, or all RoIs in
    a cascade.

    Args:
        model: The ``model`` of an mmdet config. It is not changed, and pretrained weights are not
            loaded.
        shape: Height and width of the image in pixels, including padding.

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
            f"{model['type']} has a RoI head and no RPN: it cannot be counted, because its number "
            "of proposals depends on a file"
        )
    proposals = proposals_of(model)
    if proposals is not None:
        predict = detector.rpn_head.predict

        def predict_all(*args: Any, **kwargs: Any) -> list[InstanceData]:
            # The cost does not depend on where the RoIs are.
            return [
                InstanceData(bboxes=torch.zeros(proposals, 4)) for _ in predict(*args, **kwargs)
            ]

        detector.rpn_head.predict = predict_all
    sizes = dict.fromkeys(("img_shape", "ori_shape", "pad_shape", "batch_input_shape"), size)
    sample = DetDataSample(metainfo={**sizes, "scale_factor": (1.0, 1.0)})
    # Some detectors, such as Sparse R-CNN, read the ground truth in this mode.
    sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0))
    return count(detector, torch.zeros(1, 3, *size), [sample], mode="tensor")


def proposals_of(model: Mapping[str, Any]) -> int | None:
    """The maximum number of proposals, ``test_cfg.rpn.max_per_img``; None without RPN or limit."""
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
