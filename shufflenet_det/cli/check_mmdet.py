"""Try mmdet's own configs with a ShuffleNet backbone: one training step and one prediction.

By default one config of each family and every further one that has a module of its own; results
go to results/mmdet.json, and into the table of docs/mmdet.md. What is there and has not failed is
not tried again.
"""

import argparse
import re
from pathlib import Path

EXAMPLE = "shufflenet-det check-mmdet --only dyhead,guided_anchoring"
NAME = "mmdet"
PAGE = Path("docs/mmdet.md")
TITLE = "Stock configs of mmdet with ShuffleNetV2 0.5x put in"
COLUMNS = {"config": "name", "works": "metrics.works:.0f", "remark": "remark"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="try every config, not one of a family")
    parser.add_argument("--only", metavar="FAMILIES", help="try these families, as atss,dyhead")
    parser.add_argument("--again", action="store_true", help="try configs again that have a result")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that a config may take")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results")
    parser.add_argument("--page", type=Path, default=PAGE, help="page that shows the table")


def run(args: argparse.Namespace) -> int:
    from shufflenet_det.host import stock_configs
    from shufflenet_det.papers import results

    configs = stock_configs.all_configs()
    if args.only:
        families = args.only.split(",")
        unknown = set(families) - {path.parent.name for path in configs}
        if unknown:
            raise ValueError(f"mmdet has no family {', '.join(sorted(unknown))} of 2-D detectors")
        configs = [path for path in configs if path.parent.name in families]
    if not args.all:
        configs = stock_configs.representatives(configs)
    known = {}
    if (args.results / f"{NAME}.json").is_file():
        known = {row["name"]: row for row in results.read(NAME, args.results).rows}
    settled = {name for name, row in known.items() if not row["remark"].startswith("fails:")}
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
        _show(rows, args.page)
    failed = [row["name"] for row in rows if row["remark"].startswith("fails:")]
    print(f"{len(rows)} configs have a result, {sum(row['metrics']['works'] for row in rows)} work")
    if failed:
        print(f"fail: {', '.join(failed)}")
    return 0


def table(rows: list[dict]) -> str:
    """The results as Markdown, a line for each family, and what does not work by config."""
    families: dict[str, list[dict]] = {}
    for row in sorted(rows, key=lambda row: row["name"]):
        families.setdefault(row["name"].split("/")[0], []).append(row)
    lines = ["| family | tried | work | what does not, and why |", "| --- | --- | --- | --- |"]
    for family, of_family in families.items():
        works = sum(row["metrics"]["works"] for row in of_family)
        rest = [row for row in of_family if not row["metrics"]["works"]]
        reasons: dict[str, list[str]] = {}
        for row in rest:
            config = row["name"].split("/")[1].removesuffix(".py")
            reasons.setdefault(row["remark"].replace("|", "\\|"), []).append(f"`{config}`")
        told = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
        lines.append(f"| {family} | {len(of_family)} | {works} | {told} |")
    dates = sorted({row["date"] for row in rows})
    versions = rows[-1]["versions"]
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "torchvision", "mmdet"))
    return (
        f"{sum(row['metrics']['works'] for row in rows)} of {len(rows)} configs of "
        f"{len(families)} families work ({dates[-1]}, {packages}).\n\n" + "\n".join(lines)
    )


def _show(rows: list[dict], page: Path) -> None:
    """Write the table between the page's markers."""
    start, end = "<!-- mmdet:start -->", "<!-- mmdet:end -->"
    text = page.read_text(encoding="utf-8")
    if start not in text or end not in text:
        raise ValueError(f"{page}: the markers {start} and {end} are missing")
    inside = f"{start}\n\n{table(rows)}\n\n{end}"
    new = re.sub(f"{start}.*{end}", lambda _: inside, text, flags=re.DOTALL)
    page.write_text(new, encoding="utf-8")


def _name(path: Path) -> str:
    """Family and file of a stock config."""
    return f"{path.parent.name}/{path.name}"
