"""Pretrain backbones as image classifiers, as the papers do, and evaluate any checkpoint."""

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
