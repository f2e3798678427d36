"""From a config to a run: training and testing, and ``--demo``."""

from .configs import load_run_config
from .runs import draw, test, train

__all__ = ["draw", "load_run_config", "test", "train"]
