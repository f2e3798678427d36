# Faster R-CNN C4 at 300 pixels. The paper's "300x" is taken as a shorter side of 300 and, as with 600
# and 1000, 500 at most. Images narrower than 60 pixels are left out: no anchor fits into one, and
# mmdet ends with an error.
_base_ = './faster_rcnn_c4.py'

scale = (500, 300)  # the long side at most, the short side
model = dict(  # 16 pixels of an image of 640x480
    train_cfg=dict(rpn_proposal=dict(min_bbox_size=10)), test_cfg=dict(rpn=dict(min_bbox_size=10)))
_loaders = (_base_.train_dataloader, _base_.val_dataloader, _base_.test_dataloader)
for _pipeline in (
        _base_.train_pipeline, _base_.test_pipeline, *(_d.dataset.pipeline for _d in _loaders)):
    for _step in _pipeline:
        if _step.type == 'Resize':
            _step.scale = scale
del _loaders, _pipeline, _step
train_dataloader = dict(dataset=dict(filter_cfg=dict(min_size=60)))
