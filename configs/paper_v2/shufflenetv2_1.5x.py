# ShuffleNetV2 1.5x, Light-Head R-CNN: V2, Table 7, mAP 31.8.
# Measured with this file: not run.
#
# The weights are the authors', whose error says where to get them; they take BGR, 0 to 255.
_base_ = './light_head_rcnn.py'

model = dict(
    backbone=dict(
        widen_factor=1.5,
        init_cfg=dict(type='Pretrained', checkpoint='megvii/v2_1.5x')),
    rpn_head=dict(in_channels=352), roi_head=dict(thin_conv=dict(in_channels=704)))
