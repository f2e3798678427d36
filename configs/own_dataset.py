# Your own images with annotations in COCO format: this config fine-tunes NanoDet-Plus-m from its COCO
# weights on data/mine/images, data/mine/train.json and data/mine/val.json. Training reads the classes
# from train.json.
# Measured with this recipe on BCCD (bccd/nanodet_plus_bccd.py): mAP 60.9 after 24 epochs, 11 CPU
# minutes (docs/bccd.md).
_base_ = './nanodet/nanodet_plus_m_416.py'

# ---- frequently changed ---------------------------------------------------------------------
data_root = 'data/mine/'
classes = None  # or the class names, in order
# A known name, a path or a URL. If the classes differ, the last layers are new. None: random weights.
pretrained = 'nanodet_plus_m_416'
batch_size = 8
lr = 1e-3
max_epochs = 40
# ---------------------------------------------------------------------------------------------

metainfo = dict(classes=classes)
data = dict(data_root=data_root, metainfo=metainfo, data_prefix=dict(img='images/'))
model = dict(
    backbone=dict(init_cfg=None),
    # Ten times the cost of the network, and only worth it in long training.
    train_cfg=dict(aux_head=None),
    init_cfg=dict(type='Pretrained', checkpoint=pretrained) if pretrained else None)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=2,
    drop_last=False,
    dataset=dict(ann_file='train.json', **data))
val_dataloader = dict(num_workers=2, dataset=dict(ann_file='val.json', **data))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        eta_min=0,
        convert_to_iter_based=True)
]
# The moving average adapts within 200 steps, and later spans about 500 steps.
custom_hooks = [
    dict(hook, momentum=0.002, gamma=200) if hook.type == 'EMAHook' else hook
    for hook in _base_.custom_hooks
]
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
