# The authors' MobileNetV1, Faster R-CNN C4, 300 pixels: V1, Table 7, mAP 14.9. Not trained.
# Weights: shufflenet-det pretrain mobilenetv1_imagenet --work-dir work_dirs/pretrain/mobilenetv1
_base_ = '../_base_/faster_rcnn_c4_300.py'
model = dict(
    data_preprocessor=_base_.imagenet_rgb,
    backbone=dict(
        type='shufflenet_det.MobileNetV1',
        init_cfg=dict(checkpoint='work_dirs/pretrain/mobilenetv1/epoch_240.pth')))
