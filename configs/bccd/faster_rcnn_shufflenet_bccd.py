# Faster R-CNN with FPN on ShuffleNetV2 1.0x from random weights, on BCCD at 320x240 pixels.
# Measured with this file: see docs/bccd.md.
_base_ = '../faster_rcnn_shufflenet_coco.py'

# ---- frequently changed ---------------------------------------------------------------------
data_root = 'data/bccd/'
batch_size = 8
max_epochs = 4  # of the data set, repeated three times
scale = (320, 240)
# ---------------------------------------------------------------------------------------------

metainfo = dict(classes=('RBC', 'WBC', 'Platelets'))
model = dict(
    backbone=dict(
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='TruncNormal', layer='Conv2d', std=0.03)),
    roi_head=dict(bbox_head=dict(num_classes=3)),
    train_cfg=dict(rcnn=dict(sampler=dict(num=64))))  # RoIs per image, few to save CPU time

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25],
         direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
data = dict(data_root=data_root, metainfo=metainfo, data_prefix=dict(img='images/'))
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    batch_sampler=None,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=3,
        dataset=dict(
            type='CocoDataset',
            ann_file='annotations/instances_train.json',
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=train_pipeline,
            **data)))
val_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(ann_file='annotations/instances_val.json', pipeline=test_pipeline, **data))
test_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(ann_file='annotations/instances_test.json', pipeline=test_pipeline, **data))
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/instances_test.json')

train_cfg = dict(max_epochs=max_epochs, val_interval=1)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=35))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        eta_min=0,
        convert_to_iter_based=True)
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
