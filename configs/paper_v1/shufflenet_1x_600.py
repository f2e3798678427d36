# ShuffleNetV1 1x (g=3), Faster R-CNN C4, 600 pixels: V1, Table 7, mAP 19.8.
# Measured with this file: not run.
#
# OpenMMLab's weights, which everybody can download (68.1 % top-1, the authors' own 67.8 %); they
# take RGB with ImageNet's mean and deviation. For the authors': 'megvii/v1_g3_1.0x' and 'inverse'.
_base_ = './faster_rcnn_c4.py'

model = dict(
    backbone=dict(
        widen_factor=1.0,
        shuffle='paper',
        init_cfg=dict(type='Pretrained', checkpoint='openmmlab/v1_g3_1.0x')),
    rpn_head=dict(in_channels=480),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=480), bbox_head=dict(in_channels=960)))
