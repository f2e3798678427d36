"""What networks cost, ours and others'."""

from .complexity import Part, backbone_complexity, count, detector_complexity
from .papers import PAPERS, PaperRow

__all__ = ["PAPERS", "PaperRow", "Part", "backbone_complexity", "count", "detector_complexity"]
