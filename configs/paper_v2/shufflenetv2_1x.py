# ShuffleNetV2 1x, Light-Head R-CNN: V2, Table 7, mAP 29.0. Not trained.
# Weights: the authors', with BGR images from 0 to 255.
_base_ = '../_base_/light_head_rcnn.py'
model = dict(
    backbone=dict(
        type='shufflenet_det.ShuffleNetV2', layout='paper', widen_factor=1.0,
        init_cfg=dict(checkpoint='megvii/v2_1.0x')))
