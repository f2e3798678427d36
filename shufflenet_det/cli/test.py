"""Evaluate a checkpoint on a config's test split: COCO mAP."""

import argparse
from pathlib import Path

from ._arguments import add_run_arguments, run_options

EXAMPLE = (
    "shufflenet-det test ssdlite320_shufflenet_coco \\\n"
    "    work_dirs/ssdlite320_shufflenet_coco/best_coco_bbox_mAP_epoch_120.pth"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare mmdet's flags, and ``--demo``."""
    add_run_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file or URL")
    parser.add_argument("--out", metavar="FILE.pkl", help="write the predictions to this file")
    parser.add_argument(
        "--show-dir", metavar="DIR", help="draw annotations and predictions into this folder"
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate."""
    from shufflenet_det.config_files import find_config

    find_config(args.config)  # before the imports that take seconds
    if "://" not in args.checkpoint and not Path(args.checkpoint).expanduser().is_file():
        raise FileNotFoundError(f"checkpoint {args.checkpoint!r} not found")
    if args.out is not None and not args.out.endswith((".pkl", ".pickle")):
        raise ValueError(f"--out {args.out!r}: must end in .pkl or .pickle")
    from shufflenet_det.training import load_run_config, test

    cfg = load_run_config(args.config, splits=("test",), **run_options(args))
    test(cfg, args.checkpoint, out=args.out, show_dir=args.show_dir)
