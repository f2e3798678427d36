# NanoDet-Plus-m: ShuffleNetV2 1.0x, Ghost-PAN and the GFL head with an auxiliary head, 416x416
# pixels, with its authors' recipe (RangiLyu/nanodet config/nanodet-plus-m_416.yml).
# Not trained with this file. The authors' weights: 30.4 mAP on val2017 as published.
custom_imports = dict(imports=['shufflenet_det'], allow_failed_imports=False)

# ---- frequently changed ---------------------------------------------------------------------
data_root = 'data/coco/'
num_classes = 80
# ImageNet weights, trained with ReLU on RGB images, as the authors use. None: random weights.
pretrained = 'torchvision://shufflenet_v2_x1_0.imagenet1k_v1'
batch_size = 96  # images per GPU
num_workers = 8
lr = 1e-3  # for 96 images per step; --auto-scale-lr adapts it to other batch sizes
max_epochs = 300
scale = (416, 416)
# ---------------------------------------------------------------------------------------------

model = dict(
    type='shufflenet_det.NanoDetPlus',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
        bgr_to_rgb=False),
    backbone=dict(
        type='shufflenet_det.ShuffleNetV2',
        widen_factor=1.0,
        act_cfg=dict(type='LeakyReLU', negative_slope=0.1),
        init_cfg=dict(type='Pretrained', checkpoint=pretrained) if pretrained else None),
    neck=dict(type='GhostPAN', in_channels=(116, 232, 464), out_channels=96),
    bbox_head=dict(type='NanoDetPlusHead', num_classes=num_classes, in_channels=96),
    train_cfg=dict(
        # This radius makes mmdet's centre term 0, which NanoDet lacks.
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13, iou_weight=3., soft_center_radius=1000.),
        aux_head=dict(stacked_convs=4),
        detach_epoch=10),
    test_cfg=dict(
        nms_pre=1000000,  # all
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='shufflenet_det.RandomWarp', scale=scale),
    dict(type='shufflenet_det.RandomColor'),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='shufflenet_det.WarpResize', scale=scale, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'pad_offset'))
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=False),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8,
    num_workers=num_workers,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='bbox',
    format_only=False)
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05),
    clip_grad=dict(max_norm=35))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=False, begin=0, end=500),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        T_max=max_epochs,
        end=max_epochs,
        by_epoch=True,
        eta_min=5e-5)
]
auto_scale_lr = dict(enable=False, base_batch_size=96)

default_scope = 'mmdet'
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=3, save_best='coco/bbox_mAP'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'))
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
    dict(
        type='EMAHook',
        ema_type='ExpMomentumEMA',
        momentum=0.0002,
        gamma=2000,
        update_buffers=True,
        priority=49),
    dict(type='shufflenet_det.EstimateStatistics')
]
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
