"""The same network in less time: what only inference can do."""

import copy
from itertools import pairwise
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_norms(model: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode with every BatchNorm folded into its convolution.

    The two are found as neighbours in a module whose children run one behind the other: a
    ``Sequential``, or mmcv's ``ConvModule``.
    """
    model = copy.deepcopy(model).eval()
    parent: Any
    for parent in model.modules():
        names = [name for name, _ in parent.named_children()]
        if isinstance(parent, nn.Sequential):
            pairs = list(pairwise(names))
        elif type(parent).__name__ == "ConvModule" and parent.with_norm:
            if tuple(parent.order[:2]) != ("conv", "norm"):
                continue
            pairs = [("conv", parent.norm_name)]
        else:
            continue
        for first, second in pairs:
            conv, norm = getattr(parent, first), getattr(parent, second)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm):
                setattr(parent, first, fuse_conv_bn_eval(conv, norm))
                setattr(parent, second, nn.Identity())
    return model
