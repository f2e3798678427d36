"""Make the tables of README.md, configs/README.md and docs/ anew, from results/*.json."""

import argparse

EXAMPLE = "shufflenet-det tables --check"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default=".", metavar="DIR", help="the repository (%(default)s)")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit status 1 if a page differs"
    )


def run(args: argparse.Namespace) -> int:
    from ..papers.tables import update_pages

    differed = update_pages(args.root, check=args.check)
    for path in differed:
        print(f"{path}: {'differs from results/' if args.check else 'updated'}")
    return int(args.check and bool(differed))
