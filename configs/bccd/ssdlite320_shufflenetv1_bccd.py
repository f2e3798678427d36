# ShuffleNetV1 1.0x, 3 groups, in ssdlite320_shufflenet_bccd.py. Without its shuffle (V1's Table 3):
# --cfg-options model.backbone.shuffle=none
# Measured with this file: see docs/bccd.md.
_base_ = './ssdlite320_shufflenet_bccd.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='shufflenet_det.ShuffleNetV1',
        groups=3,
        widen_factor=1.0,
        out_indices=(2, 3),
        norm_cfg=dict(type='BN', eps=0.001, momentum=0.03),
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03)),
    neck=dict(in_channels=(480, 960), out_channels=(480, 960, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(480, 960, 512, 256, 256, 128)))
