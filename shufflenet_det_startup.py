"""Runs at the start of every Python in whose environment shufflenet_det is installed.

``shufflenet_det.pth`` imports it. It costs next to nothing, since it waits until mmengine, mmcv or
mmdet is imported and imports the package just before, so that every program that uses them finds
them usable: mmdet's own tools, notebooks, the workers of a data loader.
"""

import sys


class _Finder:
    """Imports shufflenet_det before the first of mmengine, mmcv and mmdet, and finds nothing."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        """Leave ``sys.meta_path`` and let the finders that are there then find the module."""
        if fullname not in ("mmengine", "mmcv", "mmdet"):
            return None
        from importlib.util import find_spec

        if cls in sys.meta_path:
            sys.meta_path.remove(cls)
        try:
            import shufflenet_det  # noqa: F401
        except Exception:  # gone or broken: whoever imports it is told, others are left alone
            return None
        return find_spec(fullname)


sys.meta_path.insert(0, _Finder)
