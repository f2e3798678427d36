# MobileNetV2, about 300 M multiply-adds, Light-Head R-CNN: V2, Table 7, mAP 30.0. Not trained.
# 1.0x has 301 M at 224x224.
_base_ = '../_base_/light_head_rcnn.py'
find_unused_parameters = True  # the last 1x1 convolution is not used
model = dict(
    data_preprocessor=_base_.imagenet_rgb,
    backbone=dict(
        type='MobileNetV2', widen_factor=1.0, out_indices=(4, 6), frozen_stages=2,
        init_cfg=dict(checkpoint='open-mmlab://mmdet/mobilenet_v2')))
