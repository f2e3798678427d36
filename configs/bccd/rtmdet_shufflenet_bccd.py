# The best small detector that we built from mmdet's own parts: RTMDet's neck and head, reduced to 72
# channels, on ShuffleNetV2 1.0x from random weights. Data and recipe are those of
# nanodet_plus_bccd.py. A step takes 1.5 times as long, so it has 16 epochs.
# Measured with this file: see docs/bccd.md.
_base_ = '../own_dataset.py'
from mmengine.config import Config

_bccd = Config.fromfile('{{ fileDirname }}/nanodet_plus_bccd.py')
data_root = _bccd.data_root
max_epochs = 16
_act = dict(type='SiLU', inplace=True)
model = dict(
    _delete_=True,
    type='RTMDet',
    data_preprocessor=_bccd.model.data_preprocessor,
    backbone=dict(type='shufflenet_det.ShuffleNetV2', act_cfg=_act),
    neck=[
        dict(
            type='ChannelMapper',
            in_channels=[116, 232, 464],
            out_channels=72,
            kernel_size=1,
            norm_cfg=dict(type='BN'),
            act_cfg=_act),
        dict(
            type='CSPNeXtPAFPN',
            in_channels=(72, 72, 72),
            out_channels=72,
            num_csp_blocks=1,
            norm_cfg=dict(type='BN'),
            act_cfg=_act)
    ],
    bbox_head=dict(
        type='RTMDetSepBNHead',
        num_classes=3,
        in_channels=72,
        feat_channels=72,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        exp_on_reg=True,  # otherwise the first boxes have no area, and no point becomes positive
        norm_cfg=dict(type='BN'),
        act_cfg=_act),
    train_cfg=dict(
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13),
        allowed_border=-1,
        pos_weight=-1),
    test_cfg=dict(
        nms_pre=30000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.65),
        max_per_img=100))
train_dataloader = dict(_delete_=True, **_bccd.train_dataloader)
val_dataloader = dict(_delete_=True, **_bccd.val_dataloader)
test_dataloader = dict(_delete_=True, **_bccd.test_dataloader)
val_evaluator = _bccd.val_evaluator
test_evaluator = _bccd.test_evaluator
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = _bccd.param_scheduler
param_scheduler[1].update(T_max=max_epochs, end=max_epochs)
del Config, _bccd, _act
