# ShuffleNetV2* 1x (enlarged receptive field), Light-Head R-CNN: V2, Table 7, mAP 29.6.
# Measured with this file: not run.
#
# Nobody has published weights (ShuffleNetV2's docstring says what the paper leaves open):
#   shufflenet-det pretrain configs/pretrain/shufflenetv2star_imagenet.py --work-dir \
#     work_dirs/pretrain/v2star_1x --cfg-options model.backbone.widen_factor=1.0
_base_ = './light_head_rcnn.py'

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        widen_factor=1.0,
        extra_depthwise=True,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/pretrain/v2star_1x/epoch_240.pth')),
    rpn_head=dict(in_channels=232), roi_head=dict(thin_conv=dict(in_channels=464)))
