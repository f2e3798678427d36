"""Compare two evaluations, class by class.

RUN is a folder that shufflenet-det evaluate has written, or a work folder that contains report/.
"""

import argparse

EXAMPLE = "shufflenet-det compare work_dirs/first work_dirs/second"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("first", metavar="RUN", help="folder of a report")
    parser.add_argument("second", metavar="RUN", help="folder of another report")


def run(args: argparse.Namespace) -> None:
    """Print both runs' metrics and the differences."""
    from rich.console import Console
    from rich.table import Table

    from ..evaluation.report import read_report
    from ..evaluation.scores import percent, rounded

    def cells(one: float | None, other: float | None) -> list[str]:
        difference = "" if one is None or other is None else f"{other - one:+.1f}"
        return [rounded(one), rounded(other), difference]

    first, second = read_report(args.first), read_report(args.second)
    for key in ("annotations", "images", "boxes"):
        if first[key] != second[key]:
            raise ValueError(f"the reports' data differ: {key} {first[key]} and {second[key]}")
    table = Table("", args.first, args.second, "difference", "boxes", box=None)
    for name, value in first["metrics"].items():
        table.add_row(name, *cells(value, second["metrics"][name]), "")
    table.add_section()
    theirs = {row["name"]: percent(row["AP"]) for row in second["per_class"]}
    rows = [(percent(row["AP"]), theirs.get(row["name"]), row) for row in first["per_class"]]
    rows.sort(key=lambda entry: (entry[1] or 0) - (entry[0] or 0))
    for one, other, row in rows:
        if row["boxes"]:
            table.add_row(f"AP {row['name']}", *cells(one, other), str(row["boxes"]))
    Console().print(table)
