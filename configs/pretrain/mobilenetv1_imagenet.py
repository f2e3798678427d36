# MobileNetV1 1.0x on ImageNet-1k with ShuffleNetV1's recipe, for ShuffleNet V1's Table 7.
# Not trained.
_base_ = './shufflenetv1_imagenet.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='shufflenet_det.MobileNetV1',
        widen_factor=1.0,
        out_indices=(3, ),
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03)))
