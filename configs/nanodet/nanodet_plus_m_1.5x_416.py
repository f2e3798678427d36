# NanoDet-Plus-m-1.5x: ShuffleNetV2 1.5x and 128 channels, 416x416 pixels.
# Not trained with this file. The authors' weights: 34.1 mAP on val2017 as published.
_base_ = './nanodet_plus_m_416.py'
pretrained = 'torchvision://shufflenet_v2_x1_5.imagenet1k_v1'
model = dict(
    backbone=dict(widen_factor=1.5, init_cfg=dict(checkpoint=pretrained)),
    neck=dict(in_channels=(176, 352, 704), out_channels=128),
    bbox_head=dict(in_channels=128))
