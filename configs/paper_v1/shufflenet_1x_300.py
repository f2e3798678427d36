# ShuffleNetV1 1x (g=3), Faster R-CNN C4, 300 pixels: V1, Table 7, mAP 14.5.
# Measured with this file: not run.
#
# The paper's "300x" is taken as a shorter side of 300 and, as with 600 and 1000, 500 at most.
# In images narrower than 60 pixels no anchor may lie, and mmdet ends on such a one: left out.
_base_ = './shufflenet_1x_600.py'

model = dict(  # 16 pixels of an image of 640x480
    train_cfg=dict(rpn_proposal=dict(min_bbox_size=10)), test_cfg=dict(rpn=dict(min_bbox_size=10)))
resize = dict(type='Resize', scale=(500, 300), keep_ratio=True)
_train, _test = _base_.train_pipeline, _base_.test_pipeline
train_dataloader = dict(
    dataset=dict(filter_cfg=dict(min_size=60), pipeline=[*_train[:2], resize, *_train[3:]]))
val_dataloader = dict(dataset=dict(pipeline=[_test[0], resize, *_test[2:]]))
test_dataloader = val_dataloader
