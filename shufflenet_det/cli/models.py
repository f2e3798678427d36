"""List the ready detectors: size, accuracy, cost, licence, and whether the weights are downloaded.

Published figures are their authors', on the 5,000 images of COCO's val2017.
"""

import argparse
from typing import Any

EXAMPLE = "shufflenet-det models"
COLUMNS = ("name", "image", "mAP", "params", "MACs", "licence", "weights")
CAPTION = (
    "mAP: published, on COCO val2017 (5,000 images). params, MACs: parameters and multiply-adds of "
    "one image. Missing weights are downloaded on first use, if their host allows it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    import json

    from ..detector.ready import ready_detectors, weights_path

    rows: list[dict[str, Any]] = []
    for name, record in sorted(ready_detectors().items()):
        path, metrics = weights_path(record), record.metrics
        row: dict[str, Any] = {
            "name": name,
            "image": metrics["image size"],
            "mAP": metrics["COCO mAP"],
        }
        row |= {key: metrics[key] for key in ("parameters", "multiply-adds")}
        row |= {"licence": record.licence, "at hand": path.is_file()}
        rows.append(row | {"weights": str(path) if path.is_file() else record.url})
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), caption=CAPTION, caption_justify="left")
    for column in COLUMNS:
        right = column in COLUMNS[1:5]
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['image']}x{row['image']}",
            f"{row['mAP']:.1f}",
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['multiply-adds'] / 1e9:.2f} G",
            row["licence"],
            "present" if row["at hand"] else "missing",
        )
    Console().print(table)
