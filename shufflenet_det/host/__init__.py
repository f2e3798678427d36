"""Every workaround for mmcv, mmdet, mmengine and torch.

:mod:`.import_hooks` applies them to the modules of the host when those are imported; the rest of
the package reads as if the host were sound. Importing this package imports nothing else.
"""
