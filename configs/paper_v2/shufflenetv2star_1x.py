# ShuffleNetV2* 1x, Light-Head R-CNN: V2, Table 7, mAP 29.6. Not trained.
# Weights: shufflenet-det pretrain shufflenetv2star_imagenet --work-dir \
#   work_dirs/pretrain/v2star_1x --cfg-options model.backbone.widen_factor=1.0
_base_ = '../_base_/light_head_rcnn.py'
model = dict(
    data_preprocessor=_base_.imagenet_rgb,
    backbone=dict(
        type='shufflenet_det.ShuffleNetV2', layout='paper', widen_factor=1.0, extra_depthwise=True,
        init_cfg=dict(checkpoint='work_dirs/pretrain/v2star_1x/epoch_240.pth')))
