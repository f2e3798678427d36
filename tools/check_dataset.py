#!/usr/bin/env python
"""Check that a COCO folder is the split on which both papers trained and tested.

train2017 and val2017 are the papers' trainval-without-minival and minival.
"""

import argparse
import sys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", default="data/coco", help="COCO folder (%(default)s)")
    args = parser.parse_args()

    from shufflenet_det.data import check_papers_split  # slow: the package imports torch

    try:
        counts = check_papers_split(args.root)
    except (OSError, ValueError) as error:
        sys.exit(f"check_dataset.py: {error}")
    for split, counted in counts.items():
        print(f"{split}: {counted.images:,} images, {counted.boxes:,} boxes")
    print("This is the papers' split: no image is in both, every picture is there.")


if __name__ == "__main__":
    main()
