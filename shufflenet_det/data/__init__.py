"""Synthetic data sets, and COCO."""

from .coco import COCO_2017, download_coco, require_dataset_files
from .papers_split import PAPERS_SPLIT, check_papers_split
from .synthetic import make_demo_classes, make_demo_dataset

__all__ = [
    "COCO_2017",
    "PAPERS_SPLIT",
    "check_papers_split",
    "download_coco",
    "make_demo_classes",
    "make_demo_dataset",
    "require_dataset_files",
]
