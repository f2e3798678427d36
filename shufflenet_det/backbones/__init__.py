"""ShuffleNet V1 and V2, and the networks that their papers compare with them, as mmengine modules.

They need torch and mmengine, neither mmcv nor mmdet.
"""

from .mobilenet_v1 import MobileNetV1
from .shufflenet_v1 import ShuffleNetV1
from .shufflenet_v2 import ShuffleNetV2
from .xception import Xception

__all__ = ["MobileNetV1", "ShuffleNetV1", "ShuffleNetV2", "Xception"]
