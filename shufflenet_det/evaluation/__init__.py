"""How good a detector is, and where it fails."""

from .metric import FastCocoMetric
from .report import report

__all__ = ["FastCocoMetric", "report"]
