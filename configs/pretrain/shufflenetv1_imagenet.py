# ShuffleNetV1 1.0x with 3 groups on ImageNet-1k, with its paper's recipe (Sec. 4).
# Not trained.
#
# 240 epochs of ImageNet's 1,281,167 images in batches of 1024 are 300,240 iterations; the paper has
# 3e5. The learning rate is for 1024 images per step and is scaled with the actual batch size
# (auto_scale_lr is on). The schedule counts epochs, so larger batches mean fewer iterations.
# `shufflenet-det pretrain` --batch-size N sets the total batch size of all processes.

# ---- frequently changed ---------------------------------------------------------------------
data_root = 'data/imagenet/'  # train/CLASS/*.jpg and val/CLASS/*.jpg
num_classes = 1000
batch_size = 256  # images per process: 4 processes make the paper's 1024
num_workers = 8  # per process
lr = 0.5  # for 1024 images per step
max_epochs = 240
# The paper has "slightly less aggressive scale augmentation" but no number. Others used 0.2
# (PaddlePaddle, V2 1.0x) and 0.49 (tensorpack, V1 0.5x) for ShuffleNets. The authors' later code has
# the usual 0.08.
crop_area = (0.25, 1.0)  # share of the image's area
# ---------------------------------------------------------------------------------------------

custom_imports = dict(imports=['shufflenet_det'], allow_failed_imports=False)

model = dict(
    type='shufflenet_det.pretraining.ImageClassifier',
    num_classes=num_classes,
    label_smoothing=0.1,  # as the colour jitter, from the authors' released train.py
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        type='shufflenet_det.ShuffleNetV1',
        groups=3,
        widen_factor=1.0,
        out_indices=(3, ),
        # The papers state no initialisation. With BatchNorm, small weights learn faster.
        init_cfg=dict(type='TruncNormal', layer='Conv2d', std=0.03)))

train_pipeline = [
    dict(type='torchvision.transforms.v2.RandomResizedCrop', size=224, scale=crop_area),
    dict(
        type='torchvision.transforms.v2.ColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.4),
    dict(type='torchvision.transforms.v2.RandomHorizontalFlip'),
]
val_pipeline = [
    dict(type='torchvision.transforms.v2.Resize', size=256),
    dict(type='torchvision.transforms.v2.CenterCrop', size=224),
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='shufflenet_det.pretraining.ImageFolder',
        root=data_root + 'train',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=200,
    num_workers=num_workers,
    persistent_workers=True,
    drop_last=False,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='shufflenet_det.pretraining.ImageFolder',
        root=data_root + 'val',
        pipeline=val_pipeline))
val_evaluator = dict(type='shufflenet_det.pretraining.TopKAccuracy', topk=(1, 5))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=8)
val_cfg = dict(type='ValLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=4e-5),
    # As in the authors' code, weight decay applies only to convolutions and the classifier.
    paramwise_cfg=dict(norm_decay_mult=0., bias_decay_mult=0.))
param_scheduler = [
    dict(
        type='PolyLR',
        power=1.0,
        eta_min=0.,
        begin=0,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True)
]
auto_scale_lr = dict(enable=True, base_batch_size=1024)

default_scope = 'mmdet'
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=3, save_best='accuracy/top1'),
    sampler_seed=dict(type='DistSamplerSeedHook'))
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=100, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0)  # fixed, so that a resumed run shuffles as the first one
