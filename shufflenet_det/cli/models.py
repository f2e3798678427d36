"""List the detectors that are ready to use: size, accuracy, cost, licence, weights at hand or not.

Published figures are their authors', on the 5,000 images of COCO's val2017.
"""

import argparse

EXAMPLE = "shufflenet-det models"
COLUMNS = ("name", "image", "mAP", "parameters", "multiply-adds", "licence", "weights")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    import json

    from ..detector.ready import ready_detectors, weights_path

    rows = []
    for name, record in sorted(ready_detectors().items()):
        path = weights_path(record)
        metrics = record.metrics
        rows.append(
            {
                "name": name,
                "image": metrics["image size"],
                "mAP": metrics["COCO mAP"],
                "parameters": metrics["parameters"],
                "multiply-adds": metrics["multiply-adds"],
                "licence": record.licence,
                "weights": str(path) if path.is_file() else record.url,
                "at hand": path.is_file(),
            }
        )
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(caption="mAP on COCO val2017 as published; weights are downloaded on first use")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in COLUMNS[1:5] else "left")
    for row in rows:
        side = f"{row['image']}x{row['image']}"
        counts = f"{row['parameters'] / 1e6:.2f} M", f"{row['multiply-adds'] / 1e9:.2f} G"
        at_hand = row["weights"] if row["at hand"] else "not yet here"
        table.add_row(row["name"], side, f"{row['mAP']:.1f}", *counts, row["licence"], at_hand)
    Console().print(table)
