"""mmcv's compiled ops, by its names and calling conventions, on torch's and torchvision's kernels.

What mmcv 2.1's two-dimensional detectors call, on CPU and CUDA. Argument names, buffers that are
written and return values are those of mmcv's C++ functions, because ``mmcv.ops`` calls them by
keyword. Where mmcv's own CPU and CUDA kernels differ from each other, or read outside a tensor,
the function says what it does instead. ``NOT_CARRIED`` names the ops of ``mmcv.ops`` that are left.
"""

from shufflenet_det.host.ops.attention import ms_deform_attn_backward, ms_deform_attn_forward
from shufflenet_det.host.ops.carafe import (
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
)
from shufflenet_det.host.ops.deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from shufflenet_det.host.ops.deform_roi_pool import (
    deform_roi_pool_backward,
    deform_roi_pool_forward,
)
from shufflenet_det.host.ops.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from shufflenet_det.host.ops.info import get_compiler_version, get_compiling_cuda_version
from shufflenet_det.host.ops.masked_conv import masked_col2im_forward, masked_im2col_forward
from shufflenet_det.host.ops.overlaps import bbox_overlaps
from shufflenet_det.host.ops.roi_align import roi_align_backward, roi_align_forward
from shufflenet_det.host.ops.roi_pool import roi_pool_backward, roi_pool_forward
from shufflenet_det.host.ops.suppression import nms, nms_match, softnms
from shufflenet_det.host.ops.sync_bn import (
    sync_bn_backward_data,
    sync_bn_backward_param,
    sync_bn_forward_mean,
    sync_bn_forward_output,
    sync_bn_forward_var,
)

# {what they are for: ops of mmcv.ops that need a compiled mmcv}
NOT_CARRIED = {
    "rotated boxes": (
        "active_rotated_filter",
        "box_iou_quadri",
        "box_iou_rotated",
        "convex_iou",
        "diff_iou_rotated",
        "min_area_polygons",
        "nms_quadri",
        "nms_rotated",
        "points_in_polygons",
        "riroi_align_rotated",
        "roi_align_rotated",
        "rotated_feature_align",
    ),
    "3-D boxes and point clouds": (
        "assign_score_withk",
        "ball_query",
        "chamfer_distance",
        "furthest_point_sample",
        "gather_points",
        "group_points",
        "iou3d",
        "knn",
        "points_in_boxes",
        "roiaware_pool3d",
        "roipoint_pool3d",
        "scatter_points",
        "sparse_ops",
        "three_interpolate",
        "three_nn",
        "voxelize",
    ),
    "text": ("bezier_align", "contour_expand", "pixel_group"),
    "image generation": ("bias_act", "filtered_lrelu", "fused_bias_leakyrelu", "upfirdn2d"),
    "segmentation, video and BorderDet": (
        "border_align",
        "correlation",
        "prroi_pool",
        "psa_mask",
        "tin_shift",
    ),
}

__all__ = [
    "bbox_overlaps",
    "carafe_backward",
    "carafe_forward",
    "carafe_naive_backward",
    "carafe_naive_forward",
    "deform_conv_backward_input",
    "deform_conv_backward_parameters",
    "deform_conv_forward",
    "deform_roi_pool_backward",
    "deform_roi_pool_forward",
    "get_compiler_version",
    "get_compiling_cuda_version",
    "masked_col2im_forward",
    "masked_im2col_forward",
    "modulated_deform_conv_backward",
    "modulated_deform_conv_forward",
    "ms_deform_attn_backward",
    "ms_deform_attn_forward",
    "nms",
    "nms_match",
    "roi_align_backward",
    "roi_align_forward",
    "roi_pool_backward",
    "roi_pool_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softmax_focal_loss_backward",
    "softmax_focal_loss_forward",
    "softnms",
    "sync_bn_backward_data",
    "sync_bn_backward_param",
    "sync_bn_forward_mean",
    "sync_bn_forward_output",
    "sync_bn_forward_var",
]
