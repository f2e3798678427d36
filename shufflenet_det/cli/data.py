"""Import, split, check, repair, count and tile a labelled data set."""

import argparse

EXAMPLE = "shufflenet-det data import my_folder my_data --split train=0.8 val=0.2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parsers = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    command = parsers.add_parser("import", help="read VOC, YOLO, Labelme, CVAT or COCO labels")
    command.add_argument("source", help="folder of images and labels; only read")
    command.add_argument("out", help="new folder: images/, and a json in COCO's form for each part")
    command.add_argument("--format", help="coco, voc, yolo, labelme or cvat (default: detected)")
    _add_split(command)

    command = parsers.add_parser("split", help="split a json in COCO's form")
    command.add_argument("annotations", help="json file")
    command.add_argument("out", help="folder for a json of each part")
    command.add_argument("--images", help="folder of the images: near-duplicates stay together")
    _add_split(command)

    command = parsers.add_parser("check", help="find errors in annotations and images")
    command.add_argument("annotations", nargs="+", help="json files, one for each part")
    command.add_argument("--images", help="folder of the images (default: next to the json)")
    command.add_argument("--no-pixels", action="store_true", help="check annotations only")
    command.add_argument("--classes", nargs="+", help="names that the config gives to its labels")
    command.add_argument("--fix", metavar="OUT.json", help="write a repaired copy of the json")

    command = parsers.add_parser("stats", help="counts by class and size, and a contact sheet")
    command.add_argument("annotations", help="json file")
    command.add_argument("--images", help="folder of the images (default: next to the json)")
    command.add_argument("--sheet", metavar="OUT.png", help="draw sixteen images with their boxes")
    command.add_argument("--size", type=int, default=416, help="side of the detector's input (416)")
    command.add_argument("--json", metavar="OUT.json", help="write the figures to this file")

    command = parsers.add_parser("tile", help="cut large images into tiles, for small objects")
    command.add_argument("annotations", help="json file")
    command.add_argument("out", help="new folder: images/, and a json of the same name")
    command.add_argument("--images", help="folder of the images (default: next to the json)")
    command.add_argument("--size", type=int, default=640, help="side of a tile (%(default)s)")
    command.add_argument(
        "--overlap", type=float, default=0.2, help="share that neighbours have in common (0.2)"
    )


def _add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split",
        nargs="+",
        metavar="PART=FRACTION",
        help="such as train=0.8 val=0.2; a source with parts keeps its own",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the split (0)")
    parser.add_argument(
        "--group-by", metavar="REGEX", help="file names with the same match stay in one part"
    )


def run(args: argparse.Namespace) -> int:
    from ..data import commands

    return getattr(commands, f"run_{args.action}")(args)
