"""Backbones trained as image classifiers, as the papers did, and the accuracy of any file."""

from .classifier import ImageClassifier, ImageFolder, TopKAccuracy
from .runs import evaluate, load_pretrain_config, pretrain

__all__ = [
    "ImageClassifier",
    "ImageFolder",
    "TopKAccuracy",
    "evaluate",
    "load_pretrain_config",
    "pretrain",
]
