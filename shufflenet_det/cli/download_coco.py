"""Download COCO 2017 (20 GB), check and unpack it. Run it again after an interruption."""

import argparse

EXAMPLE = "shufflenet-det download-coco --only annotations val2017"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="data/coco", help="folder to fill (%(default)s)")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="PART",
        help="some of: annotations val2017 train2017 (default: all)",
    )
    parser.add_argument("--keep-archives", action="store_true", help="keep the zip files")


def run(args: argparse.Namespace) -> None:
    from shufflenet_det.data import download_coco

    root = download_coco(args.out, only=args.only, keep_archives=args.keep_archives)
    print(f"COCO 2017 is in {root}.")
