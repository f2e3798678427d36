"""From a config to a run: training and testing, and ``--demo``."""

from .checkpoints import differences, require_fitting
from .configs import load_run_config
from .runner import build_runner
from .runs import test, train

__all__ = [
    "build_runner",
    "differences",
    "load_run_config",
    "require_fitting",
    "test",
    "train",
]
