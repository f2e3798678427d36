# Faster R-CNN with FPN on ShuffleNetV1 1.0x, 3 groups; everything else as in the base.
# Not trained on COCO with this file.
_base_ = './faster_rcnn_shufflenet_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='shufflenet_det.ShuffleNetV1',
        groups=3,
        widen_factor=1.0,
        out_indices=(1, 2, 3),
        norm_eval=True,
        # OpenMMLab's weights, 68.1 % top-1; `shufflenet-det convert --list` lists others. For random
        # weights: norm_eval=False and init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03).
        init_cfg=dict(type='Pretrained', checkpoint='openmmlab/v1_g3_1.0x')),
    neck=dict(in_channels=[240, 480, 960]))
