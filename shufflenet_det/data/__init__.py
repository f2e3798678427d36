"""Data sets: a made one in COCO's format, and COCO itself. Imports neither torch nor mmdet."""

from .coco import COCO_2017, download_coco, require_coco_layout, require_dataset_files
from .demo import make_demo_dataset
from .split import PAPERS_SPLIT, check_papers_split

__all__ = [
    "COCO_2017",
    "PAPERS_SPLIT",
    "check_papers_split",
    "download_coco",
    "make_demo_dataset",
    "require_coco_layout",
    "require_dataset_files",
]
