"""Train a detector from a config, or on a folder of your own images.

Several GPUs: torchrun --nproc_per_node=8 -m shufflenet_det.cli train CONFIG --launcher pytorch
"""

import argparse
from pathlib import Path

from ._arguments import add_run_arguments, add_training_arguments, run_options

EXAMPLE = "shufflenet-det train faster_rcnn_shufflenet_coco --demo"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare mmdet's flags, ``--demo``, and ``--data`` as an alternative to a config."""
    add_run_arguments(parser, config="?")
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        help="images with COCO, VOC, YOLO, Labelme or CVAT labels: import them, fine-tune a "
        "pretrained detector, test it and write a report",
    )
    parser.add_argument(
        "--model",
        default="nanodet_plus_m_416",
        metavar="NAME",
        help="the pretrained detector that --data fine-tunes (%(default)s)",
    )
    add_training_arguments(parser)
    parser.add_argument(
        "--channels-last",
        action="store_true",
        help="train in channels-last memory format, which is faster on a CPU",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate from the config's base batch size to the actual one",
    )
    parser.add_argument(
        "--check",
        choices=["quick", "full", "off"],
        default="quick",
        help="check annotations and images before the first step; full reads every image "
        "(%(default)s)",
    )
    for backend in ("tensorboard", "wandb"):
        parser.add_argument(
            f"--{backend}",
            dest="backends",
            action="append_const",
            const=backend,
            default=[],
            help=f"also log to {backend}",
        )


def run(args: argparse.Namespace) -> None:
    """Train."""
    if (args.config is None) == (args.data is None):
        raise ValueError("give either a config or --data FOLDER")
    if args.data is not None:
        from shufflenet_det.training.own_data import config_for_folder

        args.work_dir = args.work_dir or f"work_dirs/{Path(args.data).resolve().name}"
        args.config = str(config_for_folder(args.data, args.work_dir, args.model))
    from shufflenet_det.config_files import find_config

    find_config(args.config)  # before the imports that take seconds
    from shufflenet_det.training import load_run_config, train

    cfg = load_run_config(args.config, splits=("train", "val"), **run_options(args))
    train(
        cfg,
        amp=args.amp,
        channels_last=args.channels_last,
        auto_scale_lr=args.auto_scale_lr,
        resume=args.resume,
        backends=args.backends,
        check=args.check,
    )
    if args.data is not None:
        from shufflenet_det.training.own_data import report

        report(args.work_dir)
