# MobileNetV1 1.0, by ShuffleNet's authors, Faster R-CNN C4, 600 pixels: V1, Table 7, mAP 19.3.
# Measured with this file: not run.
#
# Weights: shufflenet-det pretrain configs/pretrain/mobilenetv1_imagenet.py \
#   --work-dir work_dirs/pretrain/mobilenetv1
_base_ = './faster_rcnn_c4.py'

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='shufflenet_det.MobileNetV1',
        out_indices=(2, ), frozen_stages=0,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/pretrain/mobilenetv1/epoch_240.pth')),
    rpn_head=dict(in_channels=512),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=512), bbox_head=dict(in_channels=1024)))
