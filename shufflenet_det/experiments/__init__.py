"""The papers' tables on COCO as data, and what is drawn from them."""

from .plots import plot_published
from .published import ANCHORS, PUBLISHED, V1_TABLE_7, V2_TABLE_7, Result
from .tables import markdown_table

__all__ = [
    "ANCHORS",
    "PUBLISHED",
    "V1_TABLE_7",
    "V2_TABLE_7",
    "Result",
    "markdown_table",
    "plot_published",
]
