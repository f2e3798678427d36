"""Detectors as files for devices, and their use without torch.

``Detector`` runs an exported model and imports no torch; ``export``, ``verify`` and ``optimize``
need it. Each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .exporting import export
    from .optimization import optimize
    from .runtime import Detector
    from .verification import verify

_LAZY = {
    "Detector": ".runtime",
    "export": ".exporting",
    "optimize": ".optimization",
    "verify": ".verification",
}

__all__ = ["Detector", "export", "optimize", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name], __name__), name)
