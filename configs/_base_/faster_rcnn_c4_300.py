# Faster R-CNN C4 at 300 pixels. We read the paper's "300x" as a short side of 300 and a long side of
# at most 500, as with 600 and 1000. Images narrower than 60 pixels are dropped: no anchor fits into
# them, and mmdet stops with an error.
_base_ = './faster_rcnn_c4.py'

scale = (500, 300)  # maximum of the long side, the short side
model = dict(  # 16 pixels in a 640x480 image
    train_cfg=dict(rpn_proposal=dict(min_bbox_size=10)), test_cfg=dict(rpn=dict(min_bbox_size=10)))
_loaders = (_base_.train_dataloader, _base_.val_dataloader, _base_.test_dataloader)
for _pipeline in (
        _base_.train_pipeline, _base_.test_pipeline, *(_d.dataset.pipeline for _d in _loaders)):
    for _step in _pipeline:
        if _step.type == 'Resize':
            _step.scale = scale
del _loaders, _pipeline, _step
train_dataloader = dict(dataset=dict(filter_cfg=dict(min_size=60)))
