# ShuffleNetV2 2.0x on ImageNet-1k.
# Not trained.
_base_ = './shufflenetv2_imagenet.py'

model = dict(dropout=0.2, backbone=dict(widen_factor=2.0))  # dropout as in the authors' code
