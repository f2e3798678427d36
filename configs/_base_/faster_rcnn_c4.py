# Faster R-CNN in its C4 form, the base of ShuffleNet V1's Table 7 (arXiv:1707.01083v2, Sec. 4.4).
# A row states the backbone and its weights. The heads read their channels from the backbone
# (`FasterRCNNC4`).
#
# The paper: py-faster-rcnn (Caffe) "with default settings", trained on COCO train+val without the
# 5,000 minival images (today's train2017), tested on minival (val2017). Its defaults are used here:
# 3 x 4 anchors per cell, RPN with 512 channels on stride 16, 12000 -> 2000 proposals in training and
# 6000 -> 300 in testing, 128 RoIs per image, a quarter of them foreground, two-way softmax, smooth
# L1, NMS at 0.3, flips but no scaling or jitter, twice the learning rate for biases. Three details
# follow mmdet instead:
# - py-faster-rcnn drops proposals narrower than 16 pixels of the original image before it takes the
#   first 12000; mmdet drops them afterwards, by the size in the resized image
# - py-faster-rcnn's RoIPool rounds a RoI to whole cells; mmcv's does not
# - py-faster-rcnn rounds the sides of its smallest anchors to whole pixels before it scales them:
#   184x96 and 88x176 instead of mmdet's 181x91 and 91x181
# The paper does not state these details. Our choices:
# - stages: as in Faster R-CNN on ResNet (arXiv:1512.03385, Appendix A), RPN and RoIs use stage 3,
#   RoIPool outputs 14x14 cells, stage 4 reduces them to 7x7, and their mean is classified. With
#   MobileNet this takes 25.2 G multiply-adds at 300x300 and 30.5 G at 600x600, as in MobileNet's own
#   paper for Faster R-CNN (arXiv:1704.04861, Table 13), and 6.0 M parameters (6.1 M there)
# - frozen layers: all BatchNorm, as in that appendix, and the layers up to stride 4
# - preprocessing: that of the pretrained weights
# Schedule: 490,000 iterations of 2 images, learning rate 0.001, divided by ten after 350,000. For
# 16 images per step, the learning rate is 8 times as large and there are an eighth of the iterations:
# the usual linear rule with its warm-up of 500 iterations.

# ---- frequently changed ---------------------------------------------------------------------
data_root = 'data/coco/'
num_classes = 80
batch_size = 16  # images per GPU; `shufflenet-det papers run` --gpus N sets 16 / N
num_workers = 4
lr = 0.008  # for 16 images per step; --auto-scale-lr adapts it to other batch sizes
max_iters = 61_250  # of 16 images
scale = (1000, 600)  # maximum of the long side, the short side
# ---------------------------------------------------------------------------------------------

custom_imports = dict(imports=['shufflenet_det'], allow_failed_imports=False)

# For weights without known preprocessing, such as those of configs/pretrain.
imagenet_rgb = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
model = dict(
    type='FasterRCNNC4',
    # No mean and std: a run sets them from the weights.
    data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32),
    backbone=dict(
        out_indices=(2, ),
        frozen_stages=0,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        init_cfg=dict(type='Pretrained')),
    rpn_head=dict(
        type='RPNHead',
        feat_channels=512,
        anchor_generator=dict(
            type='AnchorGenerator',
            scales=[4, 8, 16, 32],
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
        type='StandardRoIHead',
        bbox_roi_extractor=dict(
            type='SingleRoIExtractor',
            roi_layer=dict(type='RoIPool', output_size=14),
            featmap_strides=[16]),
        bbox_head=dict(
            type='BBoxHead',
            with_avg_pool=True,
            roi_feat_size=7,
            num_classes=num_classes,
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0., 0., 0., 0.],
                target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=False,
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0))),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(
                type='MaxIoUAssigner',
                pos_iou_thr=0.7,
                neg_iou_thr=0.3,
                min_pos_iou=0.01,  # the best anchor of a box is positive, even with little overlap
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
            min_bbox_size=20),  # 16 pixels in a 640x480 image
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
                num=128,
                pos_fraction=0.25,
                neg_pos_ub=-1,
                add_gt_as_proposals=True),
            pos_weight=-1,
            debug=False)),
    test_cfg=dict(
        rpn=dict(
            nms_pre=6000,
            max_per_img=300,
            nms=dict(type='nms', iou_threshold=0.7),
            min_bbox_size=20),
        rcnn=dict(
            score_thr=0.05, nms=dict(type='nms', iou_threshold=0.3), max_per_img=100)))

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

# Every val_interval iterations. The row uses the last checkpoint, whatever it scores.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=12_250)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=0.0005),
    paramwise_cfg=dict(bias_lr_mult=2.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR',
        begin=0,
        end=max_iters,
        by_epoch=False,
        milestones=[max_iters * 350 // 490],
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
        interval=1_225,
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
randomness = dict(seed=0)  # fixed, so that a resumed run shuffles as the first one
