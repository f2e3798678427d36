# --demo merges this file over a COCO config: a synthetic data set and a short training on a CPU. The
# model stays the same. Its backbone starts from random weights, and all of it is trained.
# shufflenet_det/training/demo.py sets image sizes and repetitions inside the pipelines.

# ---- frequently changed ---------------------------------------------------------------------
max_epochs = 8
batch_size = 4
# ---------------------------------------------------------------------------------------------

model = dict(
    backbone=dict(
        norm_cfg=dict(type='BN', requires_grad=True),
        norm_eval=False,
        frozen_stages=-1,
        # With BatchNorm, small weights learn faster; mmdet's SSDLite does the same.
        init_cfg=dict(_delete_=True, type='TruncNormal', layer='Conv2d', std=0.03)))
train_dataloader = dict(batch_size=batch_size, num_workers=2)
val_dataloader = dict(num_workers=1)
test_dataloader = dict(num_workers=1)
train_cfg = dict(
    _delete_=True, type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs // 2)
# AdamW with a cosine schedule replaces recipes that are made for long training.
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=35))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=batch_size)
# The schedule counts epochs, even if the config's own schedule counts iterations.
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=True, interval=1))
log_processor = dict(by_epoch=True)
randomness = dict(seed=0)
