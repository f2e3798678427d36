"""Training and testing from a config, and ``--demo``."""

from .configs import load_run_config
from .runner import build_runner
from .runs import test, train

__all__ = [
    "build_runner",
    "load_run_config",
    "test",
    "train",
]
