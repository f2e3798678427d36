"""Detect objects on an image or a folder of images and draw the boxes.

The same as ``shufflenet-det predict CONFIG INPUT --checkpoint CHECKPOINT``.
"""

import argparse

from . import predict

EXAMPLE = (
    "python tools/demo.py configs/ssdlite320_shufflenet_coco.py best.pth street.jpg --out-dir d"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments in mmdet's order."""
    parser.add_argument("model", metavar="CONFIG", help="config")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint")
    parser.add_argument("source", metavar="INPUT", help="image, folder, video or camera number")
    predict.add_options(parser)


run = predict.run
