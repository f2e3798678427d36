# SSDLite-320 on ShuffleNetV2 1.0x from random weights, on BCCD: blood cells, 205 images for train,
# 87 for val, 72 for test (https://github.com/Shenggan/BCCD_Dataset, converted to COCO format).
# Measured with this file: see docs/bccd.md.
_base_ = '../ssdlite320_shufflenet_coco.py'

# ---- frequently changed ---------------------------------------------------------------------
data_root = 'data/bccd/'
batch_size = 16
max_epochs = 12  # of the data set, repeated six times
# ---------------------------------------------------------------------------------------------

metainfo = dict(classes=('RBC', 'WBC', 'Platelets'))
model = dict(
    backbone=dict(
        norm_cfg=dict(type='BN', eps=0.001, momentum=0.03),
        init_cfg=dict(_delete_=True, type='TruncNormal', layer='Conv2d', std=0.03)),
    bbox_head=dict(num_classes=3))

data = dict(data_root=data_root, metainfo=metainfo, data_prefix=dict(img='images/'))
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    drop_last=True,
    dataset=dict(times=6, dataset=dict(ann_file='annotations/instances_train.json', **data)))
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    dataset=dict(ann_file='annotations/instances_val.json', **data))
test_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    dataset=dict(ann_file='annotations/instances_test.json', **data))
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/instances_test.json')

train_cfg = dict(max_epochs=max_epochs, val_interval=1)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05))
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
