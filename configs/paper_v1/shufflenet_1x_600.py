# ShuffleNetV1 1x (g=3), Faster R-CNN C4, 600 pixels: V1, Table 7, mAP 19.8.
# Measured with this file: not run.
#
# OpenMMLab's weights, which everybody can download (68.1 % top-1, the authors' own 67.8 %).
_base_ = './faster_rcnn_c4.py'

model = dict(
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(
        widen_factor=1.0,
        shuffle='paper',
        init_cfg=dict(type='Pretrained', checkpoint='openmmlab/v1_g3_1.0x')),
    rpn_head=dict(in_channels=480),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=480), bbox_head=dict(in_channels=960)))
