# ShuffleNetV2 1.5x, Light-Head R-CNN: V2, Table 7, mAP 31.8. Not trained.
# Weights: the authors', with BGR images from 0 to 255.
_base_ = '../_base_/light_head_rcnn.py'
model = dict(
    backbone=dict(
        type='shufflenet_det.ShuffleNetV2', layout='paper', widen_factor=1.5,
        init_cfg=dict(checkpoint='megvii/v2_1.5x')))
