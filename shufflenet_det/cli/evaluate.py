"""Evaluate predictions: AP by class and size, curves, confusion, the worst images, calibration.

PREDICTIONS is a JSON file of COCO results or the .pkl file of shufflenet-det test --out; or, with
--model, the name, config or checkpoint of a detector, which then runs over the images.
"""

import argparse

EXAMPLE = (
    "shufflenet-det evaluate data/mine/val.json results.pkl --images data/mine/images --out report"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("annotations", metavar="ANNOTATIONS", help="file in COCO's format")
    parser.add_argument("predictions", metavar="PREDICTIONS", help="file; with --model, a detector")
    parser.add_argument(
        "--model",
        action="store_true",
        help="PREDICTIONS is a detector, as for shufflenet-det predict",
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="weights, if PREDICTIONS is a config")
    parser.add_argument("--images", metavar="DIR", help="folder of images (default: detected)")
    parser.add_argument(
        "--out", metavar="DIR", default="report", help="folder of the report (default: report)"
    )
    parser.add_argument("--device", help="cpu, cuda:0, … (default: a GPU if there is one)")


def run(args: argparse.Namespace) -> None:
    """Write the report and print the metrics."""
    from pathlib import Path
    from typing import Any

    from ..data.folders import read_dataset
    from ..evaluation import report
    from ..evaluation.scores import percent, rounded

    _, images, _ = read_dataset(args.annotations, args.images)
    predictions: Any = args.predictions
    if args.model:
        from ..detector import Detector

        predictions = Detector(
            args.predictions, args.checkpoint, score_threshold=0, device=args.device
        )
    result = report(args.annotations, predictions, images, args.out)
    metrics = result["metrics"]
    print(", ".join(f"{name} {rounded(metrics[name])}" for name in list(metrics)[:6]))
    known = [row for row in result["per_class"] if row["AP"] is not None]
    worst = sorted(known, key=lambda row: row["AP"])[:5]
    print(
        "lowest AP: " + ", ".join(f"{row['name']} {rounded(percent(row['AP']))}" for row in worst)
    )
    if result["best"]["threshold"] is not None:
        print("best threshold: {threshold:.2f}, F1 {F1:.2f}".format(**result["best"]))
    print(f"report: {Path(args.out) / 'report.html'}")
