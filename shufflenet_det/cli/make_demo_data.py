"""Generate the demo data: synthetic images in COCO 2017's layout, without a download."""

import argparse

EXAMPLE = "shufflenet-det make-demo-data --out data/demo --train-images 400"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", default="data/demo", help="output folder (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the images")
    parser.add_argument("--train-images", type=int, default=400, help="number (%(default)s)")
    parser.add_argument("--val-images", type=int, default=80, help="number (%(default)s)")
    parser.add_argument("--width", type=int, default=256, help="pixels (%(default)s)")
    parser.add_argument("--height", type=int, default=192, help="pixels (%(default)s)")


def run(args: argparse.Namespace) -> None:
    from shufflenet_det.data import make_demo_dataset

    root = make_demo_dataset(
        args.out,
        train_images=args.train_images,
        val_images=args.val_images,
        width=args.width,
        height=args.height,
        seed=args.seed,
    )
    print(f"The demo data set is in {root}.")
