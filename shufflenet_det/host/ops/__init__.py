"""mmcv's compiled ops on the kernels of torch and torchvision, for CPU and CUDA.

These are the ops of mmcv 2.1 that the 2-D detectors of mmdet 3 call. Names, arguments, output
buffers and return values are those of mmcv's C++ functions; ``mmcv.ops`` passes all sizes by
keyword. Docstrings state the behaviour where mmcv's CPU and CUDA kernels differ, or where they read
outside a tensor.
"""

from collections.abc import Callable
from typing import Any

import torch
import torchvision

from . import (
    attention,
    carafe,
    deform_conv,
    deform_roi_pooling,
    focal_loss,
    masked_conv,
    roi_pooling,
    suppression,
    sync_bn,
)


def get_compiler_version() -> str:
    """The entry of mmcv's environment report for its compiler."""
    return f"none, kernels of torchvision {torchvision.__version__}"


def get_compiling_cuda_version() -> str:
    """The CUDA version of torch and torchvision."""
    return torch.version.cuda or "not available"


_MODULES = [attention, carafe, deform_conv, deform_roi_pooling, focal_loss, masked_conv]
_MODULES += [roi_pooling, suppression, sync_bn]
# All ops by name: the public functions of the modules.
OPS: dict[str, Callable[..., Any]] = {
    name: value
    for module in _MODULES
    for name, value in vars(module).items()
    if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
} | {function.__name__: function for function in (get_compiler_version, get_compiling_cuda_version)}
