# Faster R-CNN with FPN on ShuffleNetV2 1.0x from random weights, trained on 32 photographs of COCO
# and tested on the same 32. This proves that every part learns; the mAP of a short training does not.
# Measured with this file: see docs/overfit.md.
_base_ = '../faster_rcnn_shufflenet_coco.py'

# ---- frequently changed ---------------------------------------------------------------------
data_root = 'data/coco/'
num_images = 32  # the first images of instances_train2017.json that have boxes
batch_size = 4
max_epochs = 120
scale = (512, 512)
# ---------------------------------------------------------------------------------------------

model = dict(
    backbone=dict(
        norm_eval=False,
        init_cfg=dict(_delete_=True, type='TruncNormal', layer='Conv2d', std=0.03)),
    rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4])),  # some boxes have only ten pixels
    train_cfg=dict(rcnn=dict(sampler=dict(num=128))))  # RoIs per image, few to save CPU time

# No flips: the detector need not generalise.
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=(
            'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'))
]
dataset = dict(
    _delete_=True,
    type='CocoDataset',
    data_root=data_root,
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
    filter_cfg=dict(filter_empty_gt=True, min_size=32),  # without test_mode, which keeps empty images
    indices=num_images,
    pipeline=pipeline)
train_dataloader = dict(batch_size=batch_size, num_workers=1, dataset=dataset)
val_dataloader = dict(num_workers=1, dataset=dataset)
test_dataloader = val_dataloader
# Without ann_file, only the predicted images are scored; with it, all images of the file.
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=10)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.0),
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
default_hooks = dict(logger=dict(interval=8), checkpoint=dict(interval=10, max_keep_ckpts=1))
randomness = dict(seed=0)
