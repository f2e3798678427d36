"""Runs at the start of each Python process in an environment with shufflenet_det.

``shufflenet_det.pth`` imports this module. It imports the package just before mmengine, mmcv or
mmdet is imported, and otherwise costs almost nothing. The workarounds therefore also apply in
mmdet's own tools, in notebooks and in the workers of a data loader.
"""

import sys


class _Finder:
    """Imports shufflenet_det before the first import of mmengine, mmcv or mmdet."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        """Remove this finder from ``sys.meta_path``, and find the module with the other finders."""
        if fullname not in ("mmengine", "mmcv", "mmdet"):
            return None
        from importlib.util import find_spec

        if cls in sys.meta_path:
            sys.meta_path.remove(cls)
        try:
            import shufflenet_det  # noqa: F401
        except Exception:  # removed or broken: an explicit import reports this
            return None
        return find_spec(fullname)


sys.meta_path.insert(0, _Finder)
