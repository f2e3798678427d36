"""Detectors that mmdet lacks: Light-Head R-CNN, the C4 form of Faster R-CNN, NanoDet(-Plus).

Importing this package does not import its modules.
"""
