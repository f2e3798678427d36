# mmdet's MobileNetV2 0.6x on ImageNet-1k with ShuffleNetV1's recipe, for ShuffleNet V2's Table 7;
# other widths: --cfg-options model.backbone.widen_factor=0.25
# Not trained.
_base_ = './shufflenetv1_imagenet.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        widen_factor=0.6,
        out_indices=(7, ),
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03)))
