# ShuffleNetV1 1.5x (g=3), Light-Head R-CNN: V2, Table 7, mAP 29.9.
# Measured with this file: not run.
#
# The weights are the authors', whose channel shuffle is the inverse; their error says where to get
# them. They take BGR, 0 to 255.
_base_ = './light_head_rcnn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='shufflenet_det.ShuffleNetV1',
        groups=3,
        widen_factor=1.5,
        shuffle='inverse',
        out_indices=(2, 3),
        frozen_stages=0,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='megvii/v1_g3_1.5x')),
    rpn_head=dict(in_channels=720), roi_head=dict(thin_conv=dict(in_channels=1440)))
