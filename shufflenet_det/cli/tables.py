"""Regenerate the tables of README.md, configs/README.md and docs/ from results/*.json."""

import argparse

EXAMPLE = "shufflenet-det tables --check"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default=".", metavar="DIR", help="the repository (%(default)s)")
    parser.add_argument(
        "--count",
        action="store_true",
        help="first count the cost of each config that is missing in results/configs.json",
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit status 1 if a page differs"
    )


def run(args: argparse.Namespace) -> int:
    from shufflenet_det.papers.tables import update_pages

    if args.count:
        from shufflenet_det.papers.report import count_missing

        print(f"counted: {', '.join(count_missing(args.root)) or 'nothing, all configs are known'}")
    differed = update_pages(args.root, check=args.check)
    for path in differed:
        print(f"{path}: {'differs from results/' if args.check else 'updated'}")
    return int(args.check and bool(differed))
