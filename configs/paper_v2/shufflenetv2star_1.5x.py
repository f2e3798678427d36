# ShuffleNetV2* 1.5x, Light-Head R-CNN: V2, Table 7, mAP 32.2. Not trained.
# Weights: shufflenet-det pretrain shufflenetv2star_imagenet --work-dir \
#   work_dirs/pretrain/v2star_1.5x --cfg-options model.backbone.widen_factor=1.5
_base_ = '../_base_/light_head_rcnn.py'
model = dict(
    data_preprocessor=_base_.imagenet_rgb,
    backbone=dict(
        type='shufflenet_det.ShuffleNetV2', layout='paper', widen_factor=1.5, extra_depthwise=True,
        init_cfg=dict(checkpoint='work_dirs/pretrain/v2star_1.5x/epoch_240.pth')))
