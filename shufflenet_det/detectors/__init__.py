"""What mmdet lacks for the detectors of the papers.

These are Light-Head R-CNN (arXiv:1711.07264) and Faster R-CNN in its C4 form. NanoDet and
NanoDet-Plus are here, too. Importing this package imports none of them.
"""
