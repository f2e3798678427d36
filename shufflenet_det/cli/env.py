"""Show what is installed, and whether it works together."""

import argparse

EXAMPLE = "shufflenet-det env"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(args: argparse.Namespace) -> None:
    """Print the environment as a table."""
    from rich.console import Console
    from rich.table import Table

    from ..host import environment
    from ..version import __version__

    table = Table(title=f"shufflenet_det {__version__}", show_header=False)
    for row in environment.report():
        table.add_row(*row)
    Console().print(table)
