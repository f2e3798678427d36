# Light-Head R-CNN (configs/paper_v2) on ShuffleNetV2 1.0x from random weights, trained and tested on
# 32 photographs of COCO; data and schedule as in the base.
# Measured with this file: see docs/overfit.md.
_base_ = './faster_rcnn_shufflenet_overfit.py'
from mmengine.config import Config

model = Config.fromfile('{{ fileDirname }}/../_base_/light_head_rcnn.py').model
model.merge(
    dict(
        data_preprocessor=_base_.model.data_preprocessor,
        backbone=dict(_base_.model.backbone, _delete_=True, out_indices=(2, 3)),
        # Some boxes have only ten pixels.
        rpn_head=dict(anchor_generator=dict(scales=[0.5, 1, 2, 4, 8, 16, 32])),
        train_cfg=dict(rpn_proposal=dict(max_per_img=500))))  # saves CPU time
model['_delete_'] = True  # replaces the base's model
del Config

pipeline = _base_.pipeline
pipeline[2].scale = (640, 640)  # the strides are twice the base's
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = val_dataloader
