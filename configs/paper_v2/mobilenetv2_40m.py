# MobileNetV2, about 40 M multiply-adds, Light-Head R-CNN: V2, Table 7, mAP 20.7.
# Measured with this file: not run.
# At 0.25x it has 37 M at 224x224; the paper's 0.4x (for 160x160) 81 M.
# Weights: shufflenet-det pretrain configs/pretrain/mobilenetv2_imagenet.py --cfg-options \
#   model.backbone.widen_factor=0.25 --work-dir work_dirs/pretrain/mobilenetv2_40m
_base_ = './light_head_rcnn.py'

find_unused_parameters = True  # its last 1x1 convolution feeds nobody
model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True, type='MobileNetV2', widen_factor=0.25,
        out_indices=(4, 6), frozen_stages=2,  # strides 16 and 32; up to stride 4
        norm_cfg=dict(type='BN', requires_grad=False), norm_eval=True,
        init_cfg=dict(
            type='Pretrained', prefix='backbone',
            checkpoint='work_dirs/pretrain/mobilenetv2_40m/epoch_240.pth')),
    rpn_head=dict(in_channels=24), roi_head=dict(thin_conv=dict(in_channels=80)))
