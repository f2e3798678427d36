# SSD at 300x300 pixels on ShuffleNetV2 1.0x, stages 2, 3 and 4 (strides 8, 16, 32). Neck, head and
# anchors are those of mmdet's ssd300_coco, augmentation and schedule those of the base.
# Not trained on COCO with this file.
_base_ = './ssdlite320_shufflenet_coco.py'

num_classes = 80
input_size = 300

model = dict(
    backbone=dict(out_indices=(1, 2, 3)),
    neck=dict(
        _delete_=True,
        type='SSDNeck',
        in_channels=(116, 232, 464),
        out_channels=(116, 232, 464, 256, 256, 256),
        level_strides=(2, 1, 1),
        level_paddings=(1, 0, 0),
        # VGG's first map needs rescaling; here BatchNorm does it.
        l2_norm_scale=None),
    bbox_head=dict(
        _delete_=True,
        type='SSDHead',
        in_channels=(116, 232, 464, 256, 256, 256),
        num_classes=num_classes,
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            input_size=input_size,
            basesize_ratio_range=(0.15, 0.9),
            strides=[8, 16, 32, 64, 100, 300],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]]),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[.0, .0, .0, .0],
            target_stds=[0.1, 0.1, 0.2, 0.2])))

for _dataset in (
        _base_.train_dataloader.dataset.dataset, _base_.val_dataloader.dataset,
        _base_.test_dataloader.dataset):
    for _step in _dataset.pipeline:
        if _step.type == 'Resize':
            _step.scale = (input_size, input_size)
del _dataset, _step
