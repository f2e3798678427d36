# ShuffleNetV1 2x (g=3), Faster R-CNN C4, 600 pixels: V1, Table 7, mAP 25.0.
# Measured with this file: not run.
#
# The weights are the authors', whose channel shuffle is the inverse; their error says where to get
# them. The paper does not say with which images it pretrained: these take BGR, 0 to 255.
_base_ = './faster_rcnn_c4.py'

model = dict(
    backbone=dict(
        widen_factor=2.0,
        shuffle='inverse',
        init_cfg=dict(type='Pretrained', checkpoint='megvii/v1_g3_2.0x')),
    rpn_head=dict(in_channels=960),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=960), bbox_head=dict(in_channels=1920)))
