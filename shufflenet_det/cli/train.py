"""Train a detector from a config.

Several GPUs: torchrun --nproc_per_node=8 -m shufflenet_det.cli train CONFIG --launcher pytorch
"""

import argparse

from ._arguments import add_run_arguments, load_config

EXAMPLE = "shufflenet-det train faster_rcnn_shufflenet_coco --demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """mmdet's flags, and ``--demo``."""
    add_run_arguments(parser)
    parser.add_argument("--amp", action="store_true", help="train in automatic mixed precision")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate from the config's base batch size to the actual one",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="resume from this checkpoint, or from the newest one in the work folder",
    )
    parser.add_argument(
        "--check",
        choices=["quick", "full", "off"],
        default="quick",
        help="look at annotations and images before the first step; full opens every image "
        "(%(default)s)",
    )
    for backend in ("tensorboard", "wandb"):
        parser.add_argument(
            f"--{backend}",
            dest="backends",
            action="append_const",
            const=backend,
            default=[],
            help=f"log to {backend}, too",
        )


def run(args: argparse.Namespace) -> None:
    """Train."""
    from shufflenet_det.config_files import find_config

    find_config(args.config)  # before the imports that take seconds
    from shufflenet_det.training import train

    train(
        load_config(args, splits=("train", "val")),
        amp=args.amp,
        auto_scale_lr=args.auto_scale_lr,
        resume=args.resume,
        backends=args.backends,
        check=args.check,
    )
