"""How good a detector is, and where it fails."""

from .report import report

__all__ = ["report"]
