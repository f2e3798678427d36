# ShuffleNetV2 1.0x on ImageNet-1k, with V1's recipe, which its paper follows (Sec. 4).
# Not trained.
#
# The network is the paper's, so a detector needs layout='paper' to load its weights.
_base_ = './shufflenetv1_imagenet.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='shufflenet_det.ShuffleNetV2',
        widen_factor=1.0,
        layout='paper',
        out_indices=(4, ),
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03)))
