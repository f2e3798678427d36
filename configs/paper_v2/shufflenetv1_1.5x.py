# ShuffleNetV1 1.5x (g=3), Light-Head R-CNN: V2, Table 7, mAP 29.9. Not trained.
# Weights: the authors', with shuffle='inverse' and BGR images from 0 to 255.
_base_ = '../_base_/light_head_rcnn.py'
model = dict(
    backbone=dict(
        type='shufflenet_det.ShuffleNetV1', groups=3, widen_factor=1.5, shuffle='inverse',
        init_cfg=dict(checkpoint='megvii/v1_g3_1.5x')))
