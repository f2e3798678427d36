"""ShuffleNet V1 and V2, and the networks of the papers' comparisons, as mmengine modules.

They need torch and mmengine, but neither mmcv nor mmdet.
"""

from .mobilenet_v1 import MobileNetV1
from .shufflenet_v1 import ShuffleNetV1
from .shufflenet_v2 import ShuffleNetV2
from .xception import Xception

__all__ = ["MobileNetV1", "ShuffleNetV1", "ShuffleNetV2", "Xception"]
