# NanoDet-Plus-m fine-tuned on BCCD with the recipe of own_dataset.py, at 320x320 pixels.
# Measured with this file: mAP 60.9 on test after 11 CPU minutes (docs/bccd.md).
_base_ = '../own_dataset.py'

# ---- frequently changed ---------------------------------------------------------------------
data_root = 'data/bccd/'
max_epochs = 24
scale = (320, 320)
# ---------------------------------------------------------------------------------------------

data = dict(data_root=data_root, metainfo=dict(classes=('RBC', 'WBC', 'Platelets')))
model = dict(bbox_head=dict(num_classes=3))
for _loader in (_base_.train_dataloader, _base_.val_dataloader, _base_.test_dataloader):
    for _step in _loader.dataset.pipeline:
        if 'scale' in _step:
            _step.scale = scale
del _loader, _step
train_dataloader = dict(dataset=dict(ann_file='annotations/instances_train.json', **data))
val_dataloader = dict(dataset=dict(ann_file='annotations/instances_val.json', **data))
test_dataloader = dict(dataset=dict(ann_file='annotations/instances_test.json', **data))
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/instances_test.json')
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(T_max=max_epochs, end=max_epochs)
