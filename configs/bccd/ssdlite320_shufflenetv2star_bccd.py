# ShuffleNetV2* 1.0x (enlarged receptive field) in ssdlite320_shufflenet_bccd.py.
# Measured with this file: see docs/bccd.md.
_base_ = './ssdlite320_shufflenet_bccd.py'

model = dict(backbone=dict(extra_depthwise=True))
