"""Check that a COCO folder is the split on which both papers trained and tested.

train2017 and val2017 are the papers' trainval-without-minival and minival.
"""

import argparse

EXAMPLE = "shufflenet-det check-dataset data/coco"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", nargs="?", default="data/coco", help="COCO folder (%(default)s)")


def run(args: argparse.Namespace) -> None:
    from shufflenet_det.data import check_papers_split

    for split, counted in check_papers_split(args.root).items():
        print(f"{split}: {counted.images:,} images, {counted.boxes:,} boxes")
    print("This is the papers' split: no image is in both, and every image is there.")
