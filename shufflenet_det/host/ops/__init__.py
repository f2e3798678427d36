"""mmcv's compiled ops, by its names and calling conventions, on torch's and torchvision's kernels.

What mmdet 3's two-dimensional detectors call of mmcv 2.1, on CPU and CUDA. Tensor names, buffers
that are written and return values are those of mmcv's C++ functions; ``mmcv.ops`` passes all sizes
by keyword. Where mmcv's own CPU and CUDA kernels differ from each other, or read outside a tensor,
the function says what it does instead.
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
    """What mmcv's environment report shows in place of the compiler that it was built with."""
    return f"none, kernels of torchvision {torchvision.__version__}"


def get_compiling_cuda_version() -> str:
    """The CUDA version that torch, and so torchvision, was built with."""
    return torch.version.cuda or "not available"


_MODULES = [attention, carafe, deform_conv, deform_roi_pooling, focal_loss, masked_conv]
_MODULES += [roi_pooling, suppression, sync_bn]
# Every op by name: the public functions that the modules define.
OPS: dict[str, Callable[..., Any]] = {
    name: value
    for module in _MODULES
    for name, value in vars(module).items()
    if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
} | {function.__name__: function for function in (get_compiler_version, get_compiling_cuda_version)}

# {what they are for: ops of mmcv.ops that need a compiled mmcv}
NOT_CARRIED = {
    "not called by mmdet": "bbox, carafe_naive, roi_align by maximum, softmax_focal_loss",
    "rotated boxes": "active_rotated_filter, box_iou_quadri, box_iou_rotated, convex_iou, "
    "diff_iou_rotated, min_area_polygons, nms_quadri, nms_rotated, points_in_polygons, "
    "riroi_align_rotated, roi_align_rotated, rotated_feature_align",
    "3-D boxes and point clouds": "assign_score_withk, ball_query, chamfer_distance, "
    "furthest_point_sample, gather_points, group_points, iou3d, knn, points_in_boxes, "
    "roiaware_pool3d, roipoint_pool3d, scatter_points, sparse_ops, three_interpolate, three_nn, "
    "voxelize",
    "text": "bezier_align, contour_expand, pixel_group",
    "image generation": "bias_act, filtered_lrelu, fused_bias_leakyrelu, upfirdn2d",
    "segmentation, video and BorderDet": "border_align, correlation, prroi_pool, psa_mask, "
    "tin_shift",
}
