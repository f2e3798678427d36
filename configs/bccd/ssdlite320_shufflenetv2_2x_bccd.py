# ShuffleNetV2 2.0x in ssdlite320_shufflenet_bccd.py.
# Measured with this file: see docs/bccd.md.
_base_ = './ssdlite320_shufflenet_bccd.py'

model = dict(
    backbone=dict(widen_factor=2.0),
    neck=dict(in_channels=(488, 2048), out_channels=(488, 2048, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(488, 2048, 512, 256, 256, 128)))
