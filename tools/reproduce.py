#!/usr/bin/env python
"""Run the rows of the papers' COCO tables, and set the papers' figures beside what was measured."""

import argparse
import signal
import sys

from _arguments import key_value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="action", required=True)
    results = argparse.ArgumentParser(add_help=False)
    results.add_argument(
        "--results", default="results", metavar="DIR", help="folder of the figures (%(default)s)"
    )
    work_dir = argparse.ArgumentParser(add_help=False)
    work_dir.add_argument(
        "--work-dir",
        default="work_dirs/reproduce",
        metavar="DIR",
        help="folder for logs and checkpoints (%(default)s); a demo's ends in _demo",
    )
    text = "every row: the paper's figure, ours, config, GPU hours (of rows begun, by their logs)"
    commands.add_parser("list", help=text, description=text, parents=[results, work_dir])
    text = "train and test rows; goes on where it was interrupted, skips what is finished"
    run = commands.add_parser("run", help=text, description=text, parents=[results, work_dir])
    run.add_argument("rows", nargs="+", metavar="ROW", help="as `list` names them, or all")
    run.add_argument("--gpus", type=int, default=1, metavar="N", help="1, 2, 4, 8 or 16")
    run.add_argument(
        "--data-root", default="data/coco", metavar="DIR", help="COCO 2017 (%(default)s)"
    )
    run.add_argument(
        "--demo", action="store_true", help="for minutes on made data, which gives no row's figure"
    )
    run.add_argument(
        "--weights", metavar="FILE", help="the backbone's, instead of what the row's config names"
    )
    run.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        type=key_value,
        default=[],
        metavar="KEY=VALUE",
        help="override a demo's config",
    )
    text = "both papers' tables with our figures, as Markdown"
    table = commands.add_parser("table", help=text, description=text, parents=[results])
    table.add_argument("--plot", metavar="FILE.png", help="draw them, too")
    text = "the model zoo page, configs/README.md, counted anew: minutes"
    commands.add_parser("zoo", help=text, description=text, parents=[results])
    args = parser.parse_args()
    if args.action == "run" and args.demo and args.weights:
        parser.error("--demo starts from random weights: leave out --weights")

    try:
        {"list": _list, "run": _run, "table": _table, "zoo": _zoo}[args.action](args)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f"reproduce.py: error: {error}")
    except KeyboardInterrupt:
        print("reproduce.py: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _list(args: argparse.Namespace) -> None:
    from shufflenet_det.experiments import comparison, results, runs

    measured = results.read_results(runs.ROWS, args.results)
    hours = {row: runs.expected_gpu_hours(row, args.work_dir) for row in runs.ROWS}
    hours |= {row: ours.gpu_hours for row, ours in measured.items()}
    configs = {row: str(runs.config_of(row).relative_to(runs.REPOSITORY)) for row in runs.ROWS}
    known = {row: number for row, number in hours.items() if number is not None}
    print(comparison.rows_table(measured, configs, known))


def _run(args: argparse.Namespace) -> None:
    from shufflenet_det.experiments import runs

    outcomes = {}
    for row, outcome in runs.run_rows(
        runs.find_rows(args.rows),
        gpus=args.gpus,
        data_root=args.data_root,
        demo=args.demo,
        work_dir=args.work_dir,
        results=args.results,
        weights=args.weights,
        cfg_options=args.cfg_options,
    ):
        outcomes[row] = outcome
        print(f"{row}: {outcome}", flush=True)
    if not all(outcome.startswith("finished") for outcome in outcomes.values()):
        sys.exit(1)


def _table(args: argparse.Namespace) -> None:
    from shufflenet_det.experiments import comparison, results, runs

    measured = results.read_results(runs.ROWS, args.results)
    if args.plot:
        comparison.plot_comparison(measured, args.plot)
    print(comparison.comparison_table(measured))


def _zoo(args: argparse.Namespace) -> None:
    from shufflenet_det.experiments import results, runs, zoo

    print(zoo.zoo_page(results.read_results(runs.ROWS, args.results)), end="")


if __name__ == "__main__":
    main()
