"""List the shipped configs by the names that the other commands take."""

import argparse

EXAMPLE = "shufflenet-det configs ssdlite"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("part", nargs="?", default="", help="list the names that have this part")


def run(args: argparse.Namespace) -> None:
    """Print the names, one a line."""
    from shufflenet_det.config_files import config_names

    print(*(name for name in config_names() if args.part in name), sep="\n")
