# MobileNetV2, about 500 M multiply-adds, Light-Head R-CNN: V2, Table 7, mAP 30.6. Not trained.
# 1.4x, the paper's largest, has 582 M at 224x224.
# Weights: shufflenet-det pretrain mobilenetv2_imagenet --work-dir \
#   work_dirs/pretrain/mobilenetv2_500m --cfg-options model.backbone.widen_factor=1.4
_base_ = '../_base_/light_head_rcnn.py'
find_unused_parameters = True  # the last 1x1 convolution is not used
model = dict(
    data_preprocessor=_base_.imagenet_rgb,
    backbone=dict(
        type='MobileNetV2', widen_factor=1.4, out_indices=(4, 6), frozen_stages=2,
        init_cfg=dict(
            prefix='backbone', checkpoint='work_dirs/pretrain/mobilenetv2_500m/epoch_240.pth')))
