"""What was published on COCO: the tables of both ShuffleNet papers, and results of others.

The papers are V1, arXiv:1707.01083v2 (CVPR 2018), and V2, arXiv:1807.11164 (ECCV 2018). No mAP
here was measured by this project.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Any

_MINIVAL = "minival"  # the 5,000 images that are val2017 today


@dataclass(frozen=True)
class Result:
    """One published result on COCO, and what it costs.

    Two costs are published, and they cannot be compared: the papers give the backbone's alone, as
    a classifier of 224x224 images; most others give the whole detector's, at its own input size.
    ``FLOPs`` in a source may mean multiply-adds, or twice as many.

    Attributes:
        key: What one types to name it.
        detector: Name of the detector.
        backbone: Name and width of its backbone.
        size: Pixels of the image that the network gets: a square's side, the shorter side, or
            ``shorter x longer side`` at most.
        mAP: Average precision over IoU 0.5 to 0.95, %.
        parameters: Millions, of the whole detector.
        flops: Millions, of the whole detector for one image of ``size``, as the source prints it.
        remark: What else there is to know.
        split: Images it was tested on: ``minival`` (5,000 images, today's val2017), ``val2017``,
            ``minival8k`` (another 8,000), ``test-dev``, ``test-dev2015``, or ``not stated``.
        source: Where the figures were read.
        flops_per_multiply_add: 1 or 2, as the source counts.
        backbone_multiply_adds: Millions, of the backbone for one image of 224x224.
        images_per_second: On a GTX 1080Ti, four images at a time.
    """

    key: str
    detector: str
    backbone: str
    size: str
    mAP: float
    parameters: float | None = None
    flops: float | None = None
    remark: str = ""
    _: KW_ONLY
    split: str
    source: str
    flops_per_multiply_add: int = 1
    backbone_multiply_adds: float | None = None
    images_per_second: float | None = None

    @property
    def multiply_adds(self) -> float | None:
        """Millions, of the whole detector for one image of ``size``."""
        return None if self.flops is None else self.flops / self.flops_per_multiply_add

    @property
    def is_shufflenet(self) -> bool:
        """Whether the backbone is a ShuffleNet, or one with few changes."""
        return "ShuffleNet" in self.backbone


def _v1_table_7() -> tuple[Result, ...]:
    # Millions of multiply-adds (Table 8), mAP at 300 and at 600 pixels.
    rows = (
        ("shufflenet_2x", "ShuffleNetV1 2x (g=3)", 524, 18.7, 25.0, ""),
        ("shufflenet_1x", "ShuffleNetV1 1x (g=3)", 140, 14.5, 19.8, ""),
        ("mobilenet", "MobileNetV1 1.0", 569, 14.9, 19.3, "trained by the authors of ShuffleNet"),
    )
    return tuple(
        Result(
            key=f"v1/{key}_{size}",
            detector="Faster R-CNN",
            backbone=backbone,
            size=str(size),
            split=_MINIVAL,
            mAP=mAP,
            source="V1, Table 7",
            backbone_multiply_adds=multiply_adds,
            remark=remark,
        )
        for key, backbone, multiply_adds, *both, remark in rows
        for size, mAP in zip((300, 600), both, strict=True)
    )


def _v2_table_7() -> tuple[Result, ...]:
    columns = (40, 140, 300, 500)  # millions of multiply-adds, rounded as the paper rounds them
    widths = ("0.5x", "1x", "1.5x", "2x")  # of the ShuffleNets; the paper names no other
    rows = (
        ("xception", "Xception", (21.9, 29.0, 31.3, 32.9), (178, 131, 101, 83)),
        ("shufflenetv1", "ShuffleNetV1 (g=3)", (20.9, 27.0, 29.9, 32.9), (152, 85, 76, 60)),
        ("mobilenetv2", "MobileNetV2", (20.7, 24.4, 30.0, 30.6), (146, 111, 94, 72)),
        ("shufflenetv2", "ShuffleNetV2", (22.5, 29.0, 31.8, 33.3), (188, 146, 109, 87)),
        ("shufflenetv2star", "ShuffleNetV2*", (23.7, 29.6, 32.2, 34.2), (183, 138, 105, 83)),
    )
    return tuple(
        Result(
            key=f"v2/{key}_{width if 'ShuffleNet' in backbone else f'{multiply_adds}m'}",
            detector="Light-Head R-CNN",
            backbone=f"{backbone} {width}" if "ShuffleNet" in backbone else backbone,
            size="800x1200",
            split=_MINIVAL,
            mAP=mAP,
            source="V2, Table 7",
            backbone_multiply_adds=multiply_adds,
            images_per_second=speed,
        )
        for key, backbone, mAPs, speeds in rows
        for width, multiply_adds, mAP, speed in zip(widths, columns, mAPs, speeds, strict=True)
    )


def _results(*rows: tuple[Any, ...], **common: Any) -> tuple[Result, ...]:
    """Of one source: key, detector, backbone, size, mAP, parameters, FLOPs, remark."""
    return tuple(Result(*row, **common) for row in rows)


V1_TABLE_7: tuple[Result, ...] = _v1_table_7()
"""V1, Section 4.4: Faster R-CNN, the shorter side 300 or 600 pixels.

The table also quotes 16.4 and 19.8 from MobileNet's own paper: ``mobilenet/faster_rcnn_300`` and
``_600`` in :data:`ANCHORS`, on other images.
"""

V2_TABLE_7: tuple[Result, ...] = _v2_table_7()
"""V2, Section 4: Light-Head R-CNN, by the backbone's complexity."""

# fmt: off
ANCHORS: tuple[Result, ...] = (
    *_results(
        ("nanodet/m_0.5x_320", "NanoDet-m 0.5x", "ShuffleNetV2 0.5x", "320", 13.5, 0.28, 300),
        ("nanodet/m_320", "NanoDet-m", "ShuffleNetV2 1x", "320", 20.6, 0.95, 720),
        ("nanodet/m_416", "NanoDet-m", "ShuffleNetV2 1x", "416", 23.5, 0.95, 1200),
        ("nanodet/m_1.5x_320", "NanoDet-m 1.5x", "ShuffleNetV2 1.5x", "320", 23.5, 2.08, 1440),
        ("nanodet/m_1.5x_416", "NanoDet-m 1.5x", "ShuffleNetV2 1.5x", "416", 26.8, 2.08, 2420),
        ("nanodet/t_320", "NanoDet-t", "ShuffleNetV2 1x", "320", 21.7, 1.36, 960),
        ("nanodet/plus_m_320", "NanoDet-Plus-m", "ShuffleNetV2 1x", "320", 27.0, 1.17, 900),
        ("nanodet/plus_m_416", "NanoDet-Plus-m", "ShuffleNetV2 1x", "416", 30.4, 1.17, 1520),
        ("nanodet/plus_m_1.5x_320", "NanoDet-Plus-m 1.5x", "ShuffleNetV2 1.5x", "320", 29.9, 2.44,
         1750),
        ("nanodet/plus_m_1.5x_416", "NanoDet-Plus-m 1.5x", "ShuffleNetV2 1.5x", "416", 34.1, 2.44,
         2970),
        flops_per_multiply_add=2,  # https://github.com/RangiLyu/nanodet/issues/141
        split="val2017",
        source="RangiLyu/nanodet README.md",
    ),
    *_results(
        ("picodet/shufflenetv2_1x_416", "PicoDet (ShuffleNetV2)", "ShuffleNetV2 1x", "416", 30.0,
         1.17, 1530),
        ("picodet/esnet_s_320", "PicoDet-S (ESNet)", "ESNet", "320", 27.1, 0.99, 730),
        ("picodet/esnet_s_416", "PicoDet-S (ESNet)", "ESNet", "416", 30.7, 0.99, 1240),
        ("picodet/esnet_m_320", "PicoDet-M (ESNet)", "ESNet", "320", 30.9, 2.15, 1480),
        ("picodet/esnet_m_416", "PicoDet-M (ESNet)", "ESNet", "416", 34.8, 2.15, 2500),
        ("picodet/esnet_l_320", "PicoDet-L (ESNet)", "ESNet", "320", 32.9, 3.30, 2230),
        ("picodet/esnet_l_416", "PicoDet-L (ESNet)", "ESNet", "416", 36.6, 3.30, 3760),
        ("picodet/esnet_l_640", "PicoDet-L (ESNet)", "ESNet", "640", 40.9, 3.30, 8910),
        flops_per_multiply_add=2,  # https://github.com/PaddlePaddle/PaddleDetection/issues/5031
        split="val2017",
        source="PaddlePaddle/PaddleDetection configs/picodet/legacy_model/README.md",
    ),
    *_results(
        ("picodet/lcnet_xs_320", "PicoDet-XS (LCNet)", "LCNet", "320", 23.5, 0.70, 670),
        ("picodet/lcnet_xs_416", "PicoDet-XS (LCNet)", "LCNet", "416", 26.2, 0.70, 1130),
        ("picodet/lcnet_s_320", "PicoDet-S (LCNet)", "LCNet", "320", 29.1, 1.18, 970),
        ("picodet/lcnet_s_416", "PicoDet-S (LCNet)", "LCNet", "416", 32.5, 1.18, 1650),
        ("picodet/lcnet_m_320", "PicoDet-M (LCNet)", "LCNet", "320", 34.4, 3.46, 2570),
        ("picodet/lcnet_m_416", "PicoDet-M (LCNet)", "LCNet", "416", 37.5, 3.46, 4340),
        ("picodet/lcnet_l_320", "PicoDet-L (LCNet)", "LCNet", "320", 36.1, 5.80, 4200),
        ("picodet/lcnet_l_416", "PicoDet-L (LCNet)", "LCNet", "416", 39.4, 5.80, 7100),
        ("picodet/lcnet_l_640", "PicoDet-L (LCNet)", "LCNet", "640", 42.6, 5.80, 16810),
        flops_per_multiply_add=2,  # taken to be as in the older README
        split="val2017",
        source="PaddlePaddle/PaddleDetection configs/picodet/README_en.md",
    ),
    *_results(
        ("centernet/shufflenetv2_512", "CenterNet", "ShuffleNetV2 1x", "512", 23.8),
        ("centernet/mobilenetv1_512", "CenterNet", "MobileNetV1 1.0", "512", 28.2),
        ("centernet/mobilenetv3_large_512", "CenterNet", "MobileNetV3-Large", "512", 27.1),
        split="val2017",
        source="PaddlePaddle/PaddleDetection configs/centernet/README_cn.md",
    ),
    *_results(
        ("yolov5lite/s_320", "YOLOv5-Lite", "ShuffleNetV2", "320", 20.8, 1.62, 1430),
        ("yolov5lite/s_416", "YOLOv5-Lite", "ShuffleNetV2", "416", 24.4, 1.62, 2420),
        ("yolov5lite/s_640", "YOLOv5-Lite", "ShuffleNetV2", "640", 27.1, 1.62, None,
         "the source has 4.12 G, its other sizes scale to 5.72 G"),
        flops_per_multiply_add=2,  # a fork of YOLOv5, which doubles: utils/torch_utils.py
        split="val2017",
        source="ppogg/YOLOv5-Lite README.md",
    ),
    *_results(
        ("fastestdet/512", "FastestDet", "ShuffleNetV2", "512", 14.0, 0.25, None),
        split="val2017",
        source="dog-qiuqiu/FastestDet README.md",
    ),
    *_results(
        ("thundernet/snet49_320", "ThunderNet", "SNet49 (ShuffleNetV2, 5x5)", "320", 19.1, None,
         262, "FLOPs not verified"),
        ("thundernet/snet146_320", "ThunderNet", "SNet146 (ShuffleNetV2, 5x5)", "320", 23.6, None,
         473, "FLOPs not verified"),
        ("thundernet/snet535_320", "ThunderNet", "SNet535 (ShuffleNetV2, 5x5)", "320", 28.1, None,
         1300, "FLOPs not verified"),
        split="test-dev",
        source="ThunderNet, arXiv:1903.11752",
    ),
    *(
        Result(
            f"detnas/{key}", detector, "DetNAS (ShuffleNetV2 units)", "800", mAP,
            remark=in_the_paper,
            split=_MINIVAL,
            source="megvii-model/DetNAS README.md",
            backbone_multiply_adds=multiply_adds,
        )
        for key, detector, mAP, multiply_adds, in_the_paper in (
            ("retinanet_300m", "RetinaNet", 34.1, 300, "33.3 in the paper"),
            ("fpn_300m", "Faster R-CNN, FPN", 36.6, 300, "36.4 in the paper"),
            ("fpn_1.3g", "Faster R-CNN, FPN", 40.3, 1300, "40.0 in the paper"),
            ("fpn_3.8g", "Faster R-CNN, FPN", 42.0, 3800, ""),
        )
    ),
    Result(
        "lighthead/xception_145m", "Light-Head R-CNN", "Xception", "700x1100", 30.7,
        split="not stated",
        source="Light-Head R-CNN, arXiv:1711.07264",
        backbone_multiply_adds=145,
    ),
    *_results(
        ("torchvision/ssdlite320_mobilenet_v3_large", "SSDLite", "MobileNetV3-Large", "320", 21.3,
         3.44, 583),
        ("torchvision/fasterrcnn_mobilenet_v3_large_320_fpn", "Faster R-CNN, FPN",
         "MobileNetV3-Large", "320", 22.8, 19.39, None,
         "the source's 0.719 G lack the RoI head: 2.15 G at 150 proposals, counted here"),
        ("torchvision/fasterrcnn_mobilenet_v3_large_fpn", "Faster R-CNN, FPN", "MobileNetV3-Large",
         "800", 32.8, 19.39, None,
         "the source's 4.494 G lack the RoI head: 14.36 G at 1,000 proposals, counted here"),
        ("torchvision/ssd300_vgg16", "SSD", "VGG-16", "300", 25.1, 35.64, 34858),
        split="val2017",
        source="torchvision, metadata of the weights",
    ),
    *_results(
        ("mmdet/ssdlite_mobilenetv2_320", "SSDLite", "MobileNetV2", "320", 21.3, None, None,
         "from random weights"),
        ("mmdet/ssd_vgg16_300", "SSD", "VGG-16", "300", 25.5),
        ("mmdet/ssd_vgg16_512", "SSD", "VGG-16", "512", 29.5),
        split="val2017",
        source="mmdetection configs/ssd/metafile.yml",
    ),
    *_results(
        ("mmdet/yolov3_mobilenetv2_320", "YOLOv3", "MobileNetV2", "320", 22.2),
        ("mmdet/yolov3_mobilenetv2_416", "YOLOv3", "MobileNetV2", "416", 23.9),
        split="val2017",
        source="mmdetection configs/yolo/metafile.yml",
    ),
    *_results(
        ("rtmdet/tiny_640", "RTMDet-tiny", "CSPNeXt", "640", 41.1, 4.8, 8100,
         "40.9 in metafile.yml"),
        ("rtmdet/s_640", "RTMDet-s", "CSPNeXt", "640", 44.6, 8.89, 14800, "44.5 in metafile.yml"),
        split="val2017",
        source="mmdetection configs/rtmdet/README.md",
    ),
    *_results(
        ("yolox/nano_416", "YOLOX-Nano", "CSPDarknet", "416", 25.8, 0.91, 1080),
        ("yolox/tiny_416", "YOLOX-Tiny", "CSPDarknet", "416", 32.8, 5.06, 6450),
        flops_per_multiply_add=2,  # yolox/utils/model_utils.py
        split="val2017",
        source="Megvii-BaseDetection/YOLOX README.md",
    ),
    *_results(
        ("yolov5/n_640", "YOLOv5n", "CSPDarknet", "640", 28.4, 1.9, 4500),
        flops_per_multiply_add=2,  # ultralytics/yolov5 utils/torch_utils.py
        split="val2017",
        source="RangiLyu/nanodet README.md",
    ),
    *_results(
        ("pelee/304", "Pelee", "PeleeNet", "304", 22.4, 5.98, 1290),
        split="test-dev2015",
        source="GZQ0723/PeleeNet README.md",
    ),
    *_results(
        ("mobilenet/ssd_300", "SSD", "MobileNetV1 1.0", "300", 19.3, 6.8, 1200,
         "18.8 on test-dev2015, says the Pelee paper"),
        ("mobilenet/faster_rcnn_300", "Faster R-CNN", "MobileNetV1 1.0", "300", 16.4, 6.1, 25200,
         "quoted in V1, Table 7"),
        ("mobilenet/faster_rcnn_600", "Faster R-CNN", "MobileNetV1 1.0", "600", 19.8, 6.1, 30500,
         "quoted in V1, Table 7"),
        split="minival8k",
        source="MobileNet, arXiv:1704.04861, Table 13",
    ),
    *_results(
        ("mobilenetv2/ssdlite_320", "SSDLite", "MobileNetV2", "320", 22.1, 4.3, 800,
         "parameters and FLOPs not verified"),
        split="test-dev",
        source="MobileNetV2, arXiv:1801.04381",
    ),
)
# fmt: on
"""Results of others, for comparison: small detectors, and all that are on a ShuffleNet."""

PUBLISHED: tuple[Result, ...] = (*V1_TABLE_7, *V2_TABLE_7, *ANCHORS)
"""All of them; no two have the same key."""
