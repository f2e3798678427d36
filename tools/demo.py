#!/usr/bin/env python
"""Detect objects on a picture or a folder of pictures and draw the boxes."""

import argparse

from _arguments import load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("inputs", help="picture, or folder of pictures")
    parser.add_argument("--out-dir", required=True, help="folder for the drawn pictures")
    parser.add_argument("--score-thr", type=float, default=0.3, help="lowest score that is drawn")
    parser.add_argument("--device", help="cpu, cuda:0, …; what there is by default")
    args = parser.parse_args()

    from shufflenet_det.training import draw

    draw(
        load_config(args, splits=()),
        args.checkpoint,
        args.inputs,
        args.out_dir,
        score_threshold=args.score_thr,
        device=args.device,
    )


if __name__ == "__main__":
    main()
