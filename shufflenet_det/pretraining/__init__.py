"""The classifier behind the weights: backbones trained as the papers did, and top-1 of any file."""

from ..data import make_demo_classes
from .classifier import ImageClassifier
from .folders import ImageFolder, UnreadableImageError, require_image_folders
from .metrics import TopKAccuracy
from .runs import evaluate, load_pretrain_config, pretrain

__all__ = [
    "ImageClassifier",
    "ImageFolder",
    "TopKAccuracy",
    "UnreadableImageError",
    "evaluate",
    "load_pretrain_config",
    "make_demo_classes",
    "pretrain",
    "require_image_folders",
]
