"""Try mmdet's own configs with a ShuffleNet backbone: one training step and one prediction.

By default, one config of each family is tried, and each further config with a module of its own.
Results go to results/mmdet.json and to the table in docs/mmdet.md. Configs that have a result other
than a failure are skipped.
"""

import argparse
from pathlib import Path

EXAMPLE = "shufflenet-det check-mmdet --only dyhead,guided_anchoring"
NAME = "mmdet"
TITLE = "Stock configs of mmdet with ShuffleNetV2 0.5x put in"
COLUMNS = {"config": "name", "result": "remark"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="try every config, not one of a family")
    parser.add_argument("--only", metavar="FAMILIES", help="only try families such as atss,dyhead")
    parser.add_argument("--again", action="store_true", help="also try configs that have a result")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for each config (600)")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results")
    parser.add_argument(
        "--page", type=Path, default=Path("docs/mmdet.md"), help="page that shows the table"
    )


def run(args: argparse.Namespace) -> int:
    from shufflenet_det.host import stock_configs
    from shufflenet_det.papers import results, tables

    configs = stock_configs.all_configs()
    if args.only:
        families = args.only.split(",")
        unknown = set(families) - {path.parent.name for path in configs}
        if unknown:
            raise ValueError(
                f"--only: mmdet has no family {', '.join(sorted(unknown))}: must be folders of its "
                "configs for 2-D detectors, such as atss,dyhead"
            )
        configs = [path for path in configs if path.parent.name in families]
    if not args.all:
        configs = stock_configs.representatives(configs)
    known = results.rows(NAME, args.results)
    settled = {row["name"] for row in known if not row["remark"].startswith("fails:")}
    todo = [path for path in configs if args.again or _name(path) not in settled]
    for number, (path, answer) in enumerate(stock_configs.check(todo, args.timeout), 1):
        remark = ": ".join(filter(None, (answer["outcome"], answer["reason"])))
        print(f"[{number}/{len(todo)}] {_name(path)}: {remark}", flush=True)
        row = {
            "name": _name(path),
            "config": "",
            "options": {},
            "seed": 0,
            "data": {"name": "random images"},
            "budget": {"steps": 1, "batch_size": 2},
            **results.provenance(),
            "metrics": {"works": int(answer["outcome"] == "works"), "seconds": answer["seconds"]},
            "remark": remark,
        }
        results.add(NAME, row, title=TITLE, columns=COLUMNS, folder=args.results)
    rows = results.read(NAME, args.results).rows
    if args.page.is_file():
        tables.update_page(args.page, args.results)
    failed = [row["name"] for row in rows if row["remark"].startswith("fails:")]
    print(f"{len(rows)} configs have a result, {sum(row['metrics']['works'] for row in rows)} work")
    if failed:
        print(f"fail: {', '.join(failed)}")
    return 0


def _name(path: Path) -> str:
    """The family and the file name of a config of mmdet."""
    return f"{path.parent.name}/{path.name}"
