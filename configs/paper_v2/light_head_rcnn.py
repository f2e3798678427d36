# Light-Head R-CNN, the base of ShuffleNet V2's Table 7 (arXiv:1807.11164, Sec. 4).
# Measured with this file: nothing; its child configs are run by `shufflenet-det papers run`.
#
# V2: "follow the same training and test protocols" as Light-Head R-CNN (arXiv:1711.07264),
# other backbones, images of 800x1200, COCO train+val without the 5,000 minival images (today's
# train2017), tested on minival (val2017). The detector is that paper's small one (Sec. 4.3, "S"):
# RPN with 256 channels on C4, a separable convolution of 15 with 64 channels between on C5 at
# stride 32 (it gives dilation up), 10 position-sensitive channels of 7x7 bins, one layer of 2048.
# Its code (for its large model) says more than the paper, or something else; here it is the code's:
# - schedule: 30 epochs of 80,000 images, 0.01 for 16 images a step, a tenth after 19 and again
#   after 25 epochs (the paper: 1.5 million images at 0.01, 0.5 million at a tenth); warm-up of 500
#   iterations from a third
# - 512 RoIs of the greatest loss (the paper: 256), there of a GPU's 2 images, here of however many
#   a GPU has (2 with `shufflenet-det papers run --gpus 8`)
# - boxes of every class (the paper: of none), whose smooth L1 counts twice
# - gradients of the separable convolution times 3; no decay of biases; anchors that cross the
#   border do not count; bins are the maximum of 2x2 samples; all scores, NMS at 0.5
# And by choice: C5 is the last stage, without V2's conv5 or MobileNetV2's last 1x1 convolution; all
# BatchNorm and the layers up to stride 4 do not learn; pixels are those of the pretrained weights.

# ---- frequently changed ---------------------------------------------------------------------
data_root = 'data/coco/'
num_classes = 80
batch_size = 16  # images a GPU; `shufflenet-det papers run` --gpus N gives each 16 / N
num_workers = 4
lr = 0.01  # for 16 images a step; --auto-scale-lr fits it to other batches
epoch = 80_000 // 16  # iterations
max_iters = 30 * epoch
scale = (1200, 800)  # the long side at most, the short side
# ---------------------------------------------------------------------------------------------

custom_imports = dict(imports=['shufflenet_det'], allow_failed_imports=False)

model = dict(
    type='FasterRCNN',
    # Neither mean nor std: tools/ take them from the weights' record; see the rows' own otherwise.
    data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32),
    backbone=dict(
        type='shufflenet_det.ShuffleNetV2',
        widen_factor=1.0,
        layout='paper',
        out_indices=(2, 3),
        frozen_stages=0,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True),
    rpn_head=dict(
        type='LightHeadRPNHead',
        in_channels=232,
        feat_channels=256,
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[2, 4, 8, 16, 32],
            ratios=[0.5, 1.0, 2.0],
            strides=[16],
            center_offset=0.5),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[.0, .0, .0, .0],
            target_stds=[1.0, 1.0, 1.0, 1.0]),
        loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
        loss_bbox=dict(type='SmoothL1Loss', beta=1 / 9, loss_weight=1.0)),
    roi_head=dict(
        type='LightHeadRoIHead',
        thin_conv=dict(
            type='LargeSeparableConv',
            in_channels=464,
            mid_channels=64,
            out_channels=490,
            kernel_size=15),
        bbox_roi_extractor=dict(
            type='PSRoIExtractor',
            roi_layer=dict(
                type='PSRoIAlign',
                output_size=7,
                sampling_ratio=2,
                pool_mode='max',
                aligned=False),
            out_channels=10,
            featmap_strides=[32]),
        bbox_head=dict(
            type='LightHeadBBoxHead',
            in_channels=10,
            num_shared_fcs=1,
            fc_out_channels=2048,
            roi_feat_size=7,
            num_classes=num_classes,
            ohem_per_image=256,
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0., 0., 0., 0.],
                target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=False,
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=2.0))),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.01,  # the best anchor of a box is positive, however little it covers
                match_low_quality=True,
                ignore_iof_thr=-1),
            sampler=dict(
                type='RandomSampler',
                num=256,
                pos_fraction=0.5,
                neg_pos_ub=-1,
                add_gt_as_proposals=False),
            allowed_border=0,
            pos_weight=-1,
            debug=False),
        rpn_proposal=dict(
            nms_pre=12000,
            max_per_img=2000,
            nms=dict(type='nms', iou_threshold=0.7),
            min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.5,
                neg_iou_thr=0.5,
                min_pos_iou=0.5,
                match_low_quality=False,
                ignore_iof_thr=-1),
            sampler=dict(
                type='RandomSampler',
                num=10_000,  # all: the head takes the hardest itself
                pos_fraction=1.0,
                neg_pos_ub=-1,
                add_gt_as_proposals=True),
            pos_weight=-1,
            debug=False)),
    test_cfg=dict(
        rpn=dict(
            nms_pre=6000,
            max_per_img=1000,
            nms=dict(type='nms', iou_threshold=0.7),
            min_bbox_size=0),
        rcnn=dict(
            score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)))

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
        backend_args=None))
val_dataloader = dict(
    batch_size=1,
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
        pipeline=test_pipeline,
        backend_args=None))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='CocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='bbox',
    format_only=False,
    backend_args=None)
test_evaluator = val_evaluator

# Every val_interval iterations; the last ones, whatever they score, are the row's.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=5 * epoch)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=0.0001),
    # Three times the gradient: see LargeSeparableConv.
    paramwise_cfg=dict(
        bias_decay_mult=0.,
        custom_keys={
            'roi_head.thin_conv': dict(lr_mult=3),
            'roi_head.thin_conv.col.0.bias': dict(lr_mult=3, decay_mult=0.),
            'roi_head.thin_conv.col.1.bias': dict(lr_mult=3, decay_mult=0.),
            'roi_head.thin_conv.row.0.bias': dict(lr_mult=3, decay_mult=0.),
            'roi_head.thin_conv.row.1.bias': dict(lr_mult=3, decay_mult=0.),
        }))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR',
        begin=0,
        end=max_iters,
        by_epoch=False,
        milestones=[19 * epoch, 25 * epoch],
        gamma=0.1)
]
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_scope = 'mmdet'
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=epoch,
        max_keep_ckpts=2,
        save_best='coco/bbox_mAP'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='DetVisualizationHook'))
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)  # stated, so that a resumed run shuffles as the first did
