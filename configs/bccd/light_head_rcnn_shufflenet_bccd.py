# Light-Head R-CNN (configs/paper_v2) on ShuffleNetV2 1.0x from random weights; data and schedule as
# in the base. Anchors have 16 to 128 pixels, because the images are small.
# Measured with this file: see docs/bccd.md.
_base_ = './faster_rcnn_shufflenet_bccd.py'
from mmengine.config import Config

model = Config.fromfile('{{ fileDirname }}/../_base_/light_head_rcnn.py').model
model.merge(
    dict(
        data_preprocessor=_base_.model.data_preprocessor,
        backbone=dict(_base_.model.backbone, _delete_=True, out_indices=(2, 3)),
        rpn_head=dict(anchor_generator=dict(scales=[1, 2, 4, 8])),
        roi_head=dict(bbox_head=dict(num_classes=3))))
model['_delete_'] = True  # replaces the base's model
del Config
