# ShuffleNetV1 1x (g=3), Faster R-CNN C4, 300 pixels: V1, Table 7, mAP 14.5. Not trained.
# Weights: OpenMMLab's, which can be downloaded freely (top-1 68.1 %, the authors' 67.8 %).
_base_ = '../_base_/faster_rcnn_c4_300.py'
model = dict(
    data_preprocessor=_base_.imagenet_rgb,
    backbone=dict(
        type='shufflenet_det.ShuffleNetV1', groups=3, widen_factor=1.0, shuffle='paper',
        init_cfg=dict(checkpoint='openmmlab/v1_g3_1.0x')))
