# ShuffleNetV1 1x (g=3), Faster R-CNN with FPN, 600 pixels: a deviation from V1's Table 7.
# Not trained.
#
# mmdet's Faster R-CNN with its schedule, at the row's image size. It is not a row of the paper and
# cannot be compared with one. The row is shufflenet_1x_600.py.
_base_ = '../faster_rcnn_shufflenetv1_coco.py'

model = dict(
    backbone=dict(
        widen_factor=1.0, shuffle='paper', init_cfg=dict(checkpoint='openmmlab/v1_g3_1.0x')),
    neck=dict(in_channels=[240, 480, 960]))
resize = dict(type='Resize', scale=(1000, 600), keep_ratio=True)
_train, _test = _base_.train_pipeline, _base_.test_pipeline
train_dataloader = dict(dataset=dict(pipeline=[*_train[:2], resize, *_train[3:]]))
val_dataloader = dict(dataset=dict(pipeline=[_test[0], resize, *_test[2:]]))
test_dataloader = val_dataloader
