# NanoDet-m, the first version: ShuffleNetV2 1.0x, a PAN without convolutions, ATSS, 416x416 pixels,
# with its authors' recipe (RangiLyu/nanodet config/legacy_v0.x_configs/nanodet-m-416.yml).
# Not trained with this file. The authors' weights: 23.5 mAP on val2017 as published.
_base_ = './nanodet_plus_m_416.py'
batch_size = 192
max_epochs = 280

model = dict(
    type='shufflenet_det.NanoDet',
    neck=dict(_delete_=True, type='BilinearPAN', in_channels=(116, 232, 464), out_channels=96),
    bbox_head=dict(
        type='NanoDetHead',
        anchor_generator=dict(
            type='AnchorGenerator',
            ratios=[1.],
            octave_base_scale=5,
            scales_per_octave=1,
            strides=[8, 16, 32],
            center_offset=0.5)),
    train_cfg=dict(
        _delete_=True,
        assigner=dict(type='ATSSAssigner', topk=9),
        allowed_border=-1,
        pos_weight=-1))

_base_.train_dataloader.dataset.pipeline[2].update(keep_ratio=True, stretch=(1., 1.))
for _loader in (_base_.val_dataloader, _base_.test_dataloader):
    _loader.dataset.pipeline[1].keep_ratio = True
del _loader
train_dataloader = dict(batch_size=batch_size)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.14, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=300),
    dict(type='MultiStepLR', by_epoch=True, milestones=[240, 260, 275], gamma=0.1)
]
auto_scale_lr = dict(base_batch_size=192)
# No averaged weights.
custom_hooks = [hook for hook in _base_.custom_hooks if hook.type != 'EMAHook']
