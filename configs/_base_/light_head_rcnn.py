# Light-Head R-CNN, the base of ShuffleNet V2's Table 7 (arXiv:1807.11164, Sec. 4).
# A row states the backbone and its weights. The heads read their channels from the backbone
# (`LightHeadRCNN`). Data, loops and all that py-faster-rcnn and Light-Head R-CNN share are in its base.
#
# V2: "follow the same training and test protocols" as Light-Head R-CNN (arXiv:1711.07264), with
# other backbones, images of 800x1200, trained on COCO train+val without the 5,000 minival images
# (today's train2017), tested on minival (val2017). The detector is that paper's small one (Sec. 4.3,
# "S"): RPN with 256 channels on C4; a separable convolution of size 15 with 64 channels in between, on
# C5 at stride 32 (without dilation); 10 position-sensitive channels of 7x7 bins; one layer of 2048.
# The code of Light-Head R-CNN (for its large model) adds to the paper or differs from it. These
# settings follow the code:
# - schedule: 30 epochs of 80,000 images, 0.01 for 16 images per step, divided by ten after 19 and
#   after 25 epochs (the paper: 1.5 million images at 0.01, 0.5 million at a tenth); a warm-up of 500
#   iterations from a third
# - the 512 RoIs with the largest loss (the paper: 256), in the code from the 2 images of a GPU, here
#   from all images of a GPU (2 with `shufflenet-det papers run --gpus 8`)
# - class-specific boxes (the paper: class-agnostic), with a smooth L1 weight of two
# - gradients of the separable convolution times 3; no weight decay on biases; anchors that cross the
#   border are ignored; bins are the maximum of 2x2 samples; all scores are kept, NMS at 0.5
# Our choices: C5 is the last stage, without V2's conv5 or MobileNetV2's last 1x1 convolution. All
# BatchNorm and the layers up to stride 4 are frozen. The preprocessing is that of the pretrained
# weights.
_base_ = './faster_rcnn_c4.py'

# ---- frequently changed ---------------------------------------------------------------------
num_classes = 80
lr = 0.01  # for 16 images per step; --auto-scale-lr adapts it to other batch sizes
epoch = 80_000 // 16  # iterations
max_iters = 30 * epoch
scale = (1200, 800)  # maximum of the long side, the short side
# ---------------------------------------------------------------------------------------------

model = dict(
    type='LightHeadRCNN',
    backbone=dict(out_indices=(2, 3)),
    rpn_head=dict(
        type='LightHeadRPNHead',
        feat_channels=256,
        anchor_generator=dict(scales=[2, 4, 8, 16, 32])),
    roi_head=dict(
        _delete_=True,
        type='LightHeadRoIHead',
        thin_conv=dict(
            type='LargeSeparableConv', mid_channels=64, out_channels=490, kernel_size=15),
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
        rpn_proposal=dict(min_bbox_size=0),
        rcnn=dict(sampler=dict(num=10_000, pos_fraction=1.0))),  # all: the head selects the hardest
    test_cfg=dict(
        rpn=dict(max_per_img=1000, min_bbox_size=0),
        rcnn=dict(score_thr=0.0, nms=dict(iou_threshold=0.5))))

_loaders = (_base_.train_dataloader, _base_.val_dataloader, _base_.test_dataloader)
for _pipeline in (
        _base_.train_pipeline, _base_.test_pipeline, *(_d.dataset.pipeline for _d in _loaders)):
    for _step in _pipeline:
        if _step.type == 'Resize':
            _step.scale = scale
del _loaders, _pipeline, _step
train_cfg = dict(max_iters=max_iters, val_interval=5 * epoch)
optim_wrapper = dict(
    optimizer=dict(lr=lr, weight_decay=0.0001),
    # Three times the gradient: see LargeSeparableConv.
    paramwise_cfg=dict(
        _delete_=True,
        bias_decay_mult=0.,
        custom_keys={
            'roi_head.thin_conv': dict(lr_mult=3),
            'roi_head.thin_conv.col.0.bias': dict(lr_mult=3, decay_mult=0.),
            'roi_head.thin_conv.col.1.bias': dict(lr_mult=3, decay_mult=0.),
            'roi_head.thin_conv.row.0.bias': dict(lr_mult=3, decay_mult=0.),
            'roi_head.thin_conv.row.1.bias': dict(lr_mult=3, decay_mult=0.),
        }))
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_iters, milestones=[19 * epoch, 25 * epoch])
default_hooks = dict(checkpoint=dict(interval=epoch))
