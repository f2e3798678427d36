"""Metrics of a detector, and a report of its errors."""

from .report import report

__all__ = ["report"]
