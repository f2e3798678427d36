# RetinaNet on ShuffleNetV2 1.0x from random weights; data and schedule as in the base.
# Measured with this file: see docs/bccd.md.
_base_ = './faster_rcnn_shufflenet_bccd.py'
from mmengine.config import Config

model = Config.fromfile('{{ fileDirname }}/../retinanet_shufflenet_coco.py').model
model.merge(
    dict(
        backbone=dict(_base_.model.backbone, _delete_=True),
        bbox_head=dict(num_classes=3)))
model['_delete_'] = True  # replaces the base's model
del Config
