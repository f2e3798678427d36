"""Count parameters and multiply-adds of a detector's parts or a backbone, for one image.

Convolutions and matrix products are counted, as in the papers, a multiply-add as one operation.
"""

import argparse

from ._arguments import key_value, parse_options

EXAMPLE = "shufflenet-det analyze ssdlite320_shufflenet_coco"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "config",
        nargs="?",
        help="config of a detector, a file or a name; mmdet::FOLDER/FILE.py for one of mmdet's",
    )
    what.add_argument("--backbone", metavar="NAME", help="a backbone, such as ShuffleNetV2")
    what.add_argument(
        "--papers", action="store_true", help="compare the papers' tables with the counts"
    )
    parser.add_argument(
        "--backbone-options",
        nargs="+",
        type=key_value,
        default=[],
        metavar="KEY=VALUE",
        help="the backbone's arguments, such as widen_factor=0.5 layout=paper",
    )
    parser.add_argument(
        "--classes", type=int, metavar="N", help="count the backbone with a classifier"
    )
    parser.add_argument(
        "--shape",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="height and width of the image, padding included; by default what the config's test "
        "pipeline resizes to, and 224 224 for a backbone",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print a Markdown table")


def run(args: argparse.Namespace) -> None:
    """Count and print."""
    if args.backbone is None and (args.backbone_options or args.classes is not None):
        args.parser.error("--backbone-options and --classes need --backbone")
    if args.papers and args.shape:
        args.parser.error("the papers' tables are for 224x224: leave out --shape")
    import json
    import sys
    from contextlib import redirect_stdout

    from rich.console import Console
    from rich.markdown import Markdown

    from shufflenet_det.papers import report

    with redirect_stdout(sys.stderr):  # for mmdet's messages
        if args.papers:
            title, rows = report.papers()
        elif args.backbone:
            options = parse_options(args.backbone_options)
            title, rows = report.backbone(args.backbone, options, args.shape, args.classes)
        else:
            title, rows = report.detector(args.config, args.shape)
    if args.json:
        print(json.dumps({"title": title, "rows": rows}, indent=2))
    elif args.markdown:
        print(f"{title}\n\n{report.markdown(rows)}")
    else:
        console = Console(markup=False, highlight=False)
        if not console.is_terminal:
            console.width = 200  # the default of 80 would break the table's lines
        console.print(title, soft_wrap=True)
        console.print(Markdown(report.markdown(rows)))
