# Xception, about 500 M multiply-adds, Light-Head R-CNN: V2, Table 7, mAP 32.9. Not trained.
# Weights: shufflenet-det pretrain xception_imagenet --work-dir \
#   work_dirs/pretrain/xception_500m --cfg-options model.backbone.widen_factor=2.0
_base_ = '../_base_/light_head_rcnn.py'
model = dict(
    data_preprocessor=_base_.imagenet_rgb,
    backbone=dict(
        type='shufflenet_det.Xception', widen_factor=2.0,
        init_cfg=dict(checkpoint='work_dirs/pretrain/xception_500m/epoch_240.pth')))
