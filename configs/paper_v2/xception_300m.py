# Xception, about 300 M multiply-adds, Light-Head R-CNN: V2, Table 7, mAP 31.3.
# Measured with this file: not run.
#
# Nobody has published weights: shufflenet-det pretrain configs/pretrain/xception_imagenet.py \
#   --cfg-options model.backbone.widen_factor=1.5 --work-dir work_dirs/pretrain/xception_300m
_base_ = './light_head_rcnn.py'

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='shufflenet_det.Xception',
        widen_factor=1.5,
        out_indices=(2, 3), frozen_stages=0,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/pretrain/xception_300m/epoch_240.pth')),
    rpn_head=dict(in_channels=384), roi_head=dict(thin_conv=dict(in_channels=768)))
