"""Workarounds for problems of mmcv, mmdet, mmengine and torch.

:mod:`.import_hooks` applies them when the modules of these packages are imported, so the rest of
this package needs no workarounds. Importing this package imports nothing else.
"""
