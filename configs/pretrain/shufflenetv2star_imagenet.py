# ShuffleNetV2* 1.0x (enlarged receptive field) on ImageNet-1k.
# Not trained.
_base_ = './shufflenetv2_imagenet.py'

model = dict(backbone=dict(extra_depthwise=True))
