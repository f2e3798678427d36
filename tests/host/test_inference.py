"""mmdet's ``inference_detector`` takes arrays and paths, in any order."""

import cv2
import numpy as np
from mmdet.apis import inference_detector
from mmdet.registry import MODELS
from mmengine.config import Config


def test_an_array_and_then_a_path(root, tmp_path):
    cfg = Config.fromfile(root / "configs" / "ssdlite320_shufflenet_coco.py")
    cfg.model.backbone.update(init_cfg=None, norm_eval=False)
    model = MODELS.build(cfg.model).eval()
    model.cfg = cfg
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, image)
    first, second, third = (inference_detector(model, x) for x in (image, path, image))
    for other in (second, third):
        assert other.pred_instances.scores.equal(first.pred_instances.scores)
