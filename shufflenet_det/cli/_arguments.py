"""The flags that sub-commands share, with mmdet's names."""

import argparse
import os
from typing import Any


def key_value(word: str) -> str:
    """Check a word of ``--cfg-options``, which :func:`parse_options` will parse."""
    if "=" not in word:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, not {word!r}")
    return word


def parse_options(words: list[str]) -> dict[str, Any]:
    """Parse words KEY=VALUE, in mmengine's syntax, to overrides by dotted key."""
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser()
    parser.add_argument("--options", nargs="*", action=DictAction, default={})
    return parser.parse_args(["--options", *words]).options


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``, a list of words KEY=VALUE."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        type=key_value,
        default=[],
        metavar="KEY=VALUE",
        help="override values of the config, for example data_root=/data/coco/ "
        "train_dataloader.batch_size=8; lists are key=a,b or key='[a,b]'",
    )


def add_run_arguments(parser: argparse.ArgumentParser, config: str | None = None) -> None:
    """Add the arguments that training and testing share; ``config`` is the ``nargs`` of CONFIG."""
    parser.add_argument(
        "config",
        nargs=config,
        help="a config file, or the name of a shipped one: faster_rcnn_shufflenet_coco",
    )
    parser.add_argument(
        "--work-dir", metavar="DIR", help="folder for logs and checkpoints (work_dirs/CONFIG)"
    )
    parser.add_argument(
        "--demo", action="store_true", help="use a small synthetic data set, generated on first use"
    )
    add_config_options(parser)
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="the launcher of a distributed run (%(default)s)",
    )
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS
    )  # set by old launchers


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that training a detector and a classifier share."""
    parser.add_argument("--amp", action="store_true", help="train in automatic mixed precision")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="resume from this checkpoint, or from the newest one in the work folder",
    )


def run_options(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of :func:`add_run_arguments`, as keywords for the config's loader."""
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    names = ("work_dir", "launcher", "demo")
    return {"cfg_options": parse_options(args.cfg_options)} | {n: getattr(args, n) for n in names}
