"""Run the rows of the papers' COCO tables, and compare the papers' figures with ours."""

import argparse

from ._arguments import add_config_options

EXAMPLE = "shufflenet-det papers run v2/shufflenetv2_1x --gpus 8 --weights FILE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions ``list``, ``run`` and ``table``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|run|table")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--results", default="results", metavar="DIR", help="folder of the results (%(default)s)"
    )
    text = "every row: the paper's result, ours, and the steps and images of a run"
    actions.add_parser("list", help=text, description=text, parents=[shared])
    text = "train and test rows; resumes interrupted rows and skips finished rows"
    run = actions.add_parser("run", help=text, description=text, parents=[shared])
    run.add_argument("rows", nargs="+", metavar="ROW", help="a name that `list` prints, or all")
    run.add_argument("--gpus", type=int, default=1, metavar="N", help="1, 2, 4, 8 or 16")
    run.add_argument(
        "--data-root", default="data/coco", metavar="DIR", help="COCO 2017 (%(default)s)"
    )
    run.add_argument(
        "--work-dir",
        default="work_dirs/papers",
        metavar="DIR",
        help="folder for logs and checkpoints (%(default)s); a demo's ends in _demo",
    )
    run.add_argument(
        "--demo",
        action="store_true",
        help="minutes on synthetic data, to test the pipeline; mAP stays near 0",
    )
    run.add_argument(
        "--weights",
        metavar="FILE",
        help="the backbone's weights (default: those in the row's config)",
    )
    add_config_options(run)
    text = "both papers' tables with our results, as Markdown"
    table = actions.add_parser("table", help=text, description=text, parents=[shared])
    table.add_argument("--plot", metavar="FILE.png", help="also plot the results")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    if args.action == "run":
        return _run(args)
    from shufflenet_det.papers import comparison

    if args.action == "list":
        print(comparison.costs_table(args.results))
        return 0
    if args.plot:
        comparison.plot(args.plot, args.results)
    print("\n\n".join(comparison.table(paper, args.results) for paper in ("v1", "v2")))
    return 0


def _run(args: argparse.Namespace) -> int:
    from shufflenet_det.papers.published import find_rows

    rows = find_rows(args.rows)  # before the imports that take seconds
    from shufflenet_det.papers.runs import run_rows

    failed = False
    try:
        for row, outcome in run_rows(
            rows,
            gpus=args.gpus,
            data_root=args.data_root,
            demo=args.demo,
            work_dir=args.work_dir,
            folder=args.results,
            weights=args.weights,
            cfg_options=args.cfg_options,
        ):
            print(f"{row.key}: {outcome}", flush=True)
            failed |= not outcome.startswith("finished")
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command resumes the row") from None
    return int(failed)
