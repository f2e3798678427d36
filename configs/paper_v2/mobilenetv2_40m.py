# MobileNetV2, about 40 M multiply-adds, Light-Head R-CNN: V2, Table 7, mAP 20.7. Not trained.
# 0.25x has 37 M at 224x224; the paper's 0.4x (for 160x160) has 81 M.
# Weights: shufflenet-det pretrain mobilenetv2_imagenet --work-dir \
#   work_dirs/pretrain/mobilenetv2_40m --cfg-options model.backbone.widen_factor=0.25
_base_ = '../_base_/light_head_rcnn.py'
find_unused_parameters = True  # the last 1x1 convolution is not used
model = dict(
    data_preprocessor=_base_.imagenet_rgb,
    backbone=dict(
        type='MobileNetV2', widen_factor=0.25, out_indices=(4, 6), frozen_stages=2,
        init_cfg=dict(
            prefix='backbone', checkpoint='work_dirs/pretrain/mobilenetv2_40m/epoch_240.pth')))
