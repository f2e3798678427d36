"""``python -m shufflenet_det.experiments ROW``: what ``tools/reproduce.py`` starts for a row."""

import argparse
import os
import sys

from mmengine.config import DictAction

from .runs import CannotRunError, finished_path, load_row, require_weights, run_row


def main() -> None:
    """Run one row, in this process or this one of several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row")
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--demo", action="store_true")
    parser.add_argument("--work-dir", required=True)
    parser.add_argument("--results", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--command", default="")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", "0")
    demo = {"demo": args.demo, "work_dir": args.work_dir}
    try:
        cfg = load_row(
            args.row,
            gpus=args.gpus,
            data_root=args.data_root,
            weights=args.weights,
            cfg_options=args.cfg_options,
            **demo,
        )
        require_weights(cfg.model.backbone)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"error: {error}")
    path = finished_path(args.row, results=args.results, **demo)
    try:
        run_row(args.row, cfg, path, demo=args.demo, gpus=args.gpus, command=args.command)
    except CannotRunError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
