# For comparison: mmdet's SSDLite-MobileNetV2, everything else as in ssdlite320_shufflenet_bccd.py.
# Measured with this file: see docs/bccd.md.
_base_ = './ssdlite320_shufflenet_bccd.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        out_indices=(4, 7),
        norm_cfg=dict(type='BN', eps=0.001, momentum=0.03),
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03)),
    neck=dict(in_channels=(96, 1280), out_channels=(96, 1280, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(96, 1280, 512, 256, 256, 128)))
