"""Train a backbone as an image classifier, or evaluate the accuracy of a checkpoint."""

import argparse

from ._arguments import add_run_arguments, add_training_arguments, run_options

EXAMPLE = "shufflenet-det pretrain pretrain/shufflenetv2_imagenet --data-root IMAGENET"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_run_arguments(parser)
    parser.add_argument(
        "--data-root", metavar="DIR", help="folder of images: train/CLASS/*.jpg, val/CLASS/*.jpg"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images per step, of all processes; scales the learning rate and the iterations",
    )
    add_training_arguments(parser)
    parser.add_argument(
        "--ema", action="store_true", help="evaluate and save a moving average of the weights"
    )
    parser.add_argument(
        "--eval-only", action="store_true", help="only evaluate --weights on the val folder"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="a published ShuffleNet classifier, or a checkpoint of this program",
    )


def run(args: argparse.Namespace) -> None:
    """Train, or evaluate."""
    if args.eval_only != (args.weights is not None):
        args.parser.error("--eval-only needs --weights FILE, and --weights needs --eval-only")
    if args.demo and args.data_root:
        args.parser.error("--demo uses synthetic images: leave out --data-root")
    from shufflenet_det import pretraining

    cfg = pretraining.load_pretrain_config(
        args.config,
        data_root=args.data_root,
        batch_size=args.batch_size,
        **run_options(args),
    )
    if args.eval_only:
        metrics = pretraining.evaluate(cfg, args.weights)
        print(", ".join(f"{name} {value:.2f} %" for name, value in metrics.items()))
    else:
        pretraining.pretrain(cfg, amp=args.amp, ema=args.ema, resume=args.resume)
