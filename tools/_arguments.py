"""The flags that the programs share, named as mmdet names them, and the config they lead to."""

import argparse
import os
import sys
from pathlib import Path

from mmengine.config import Config, DictAction


def key_value(word: str) -> str:
    """The ``type`` of an argument that mmengine's DictAction splits."""
    if "=" not in word:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, not {word!r}")
    return word


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work-dir", help="folder for logs and checkpoints")
    parser.add_argument(
        "--demo", action="store_true", help="use a small made data set, drawn on first use"
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        type=key_value,
        action=DictAction,
        metavar="KEY=VALUE",
        help="override values of the config, for example data_root=/data/coco/ "
        "train_dataloader.batch_size=8; lists are key=a,b or key='[a,b]'",
    )
    parser.add_argument("--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help="set by torchrun")


def load_config(args: argparse.Namespace, splits: tuple[str, ...]) -> Config:
    """The config fitted to the run, or exit with the one sentence that says what is wrong."""
    from shufflenet_det.training import load_run_config

    overrides = {
        name: getattr(args, name)
        for name in ("work_dir", "demo", "cfg_options", "launcher")
        if hasattr(args, name)
    }
    os.environ.setdefault("LOCAL_RANK", str(getattr(args, "local_rank", 0)))
    try:
        return load_run_config(args.config, splits=splits, **overrides)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"{Path(sys.argv[0]).name}: error: {error}")
