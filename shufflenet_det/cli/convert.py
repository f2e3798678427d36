"""Convert a published ShuffleNet checkpoint to this package's names, or list the known ones.

It prints the recognised network, its arguments and the data_preprocessor of its images. It refuses
a file that it cannot convert exactly.
"""

import argparse

EXAMPLE = "shufflenet-det convert ShuffleNetV2.1.0x.pth.tar backbone.pth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", nargs="?", metavar="IN", help="file, URL, or a name that --list prints"
    )
    parser.add_argument(
        "output", nargs="?", metavar="OUT", help="a .pth or .safetensors file to write"
    )
    parser.add_argument("--prefix", help="prefix of the backbone's names in IN (default: detected)")
    parser.add_argument(
        "--as",
        dest="taken_as",
        metavar="NAME",
        help="V2's layout (torchvision, paper, …) or V1's shuffle (paper, inverse), if IN does not "
        "show it",
    )
    parser.add_argument("--list", action="store_true", help="list the known published checkpoints")


def run(args: argparse.Namespace) -> None:
    if not args.list and args.output is None:
        args.parser.error("IN and OUT are needed, or --list")

    from ..weights import RECORDS, call, convert_file, needed_arguments, title

    if args.list:
        for record in RECORDS:
            build = record.config or call(record.network, record.arguments)
            metrics = ", ".join(f"{name} {value:g}" for name, value in record.metrics.items())
            where = f"{record.url} {record.file}".strip()
            unreadable = record.unreadable and f"cannot be loaded: {record.unreadable}"
            print(f"{record.name}: {build}")
            for line in (where, metrics, record.licence, record.digest, unreadable, record.note):
                if line:
                    print(f"    {line}")
        return
    weights = convert_file(args.input, args.output, args.prefix, args.taken_as)
    print(f"recognised: {title(weights)}")
    print(f"build: {call(weights.network, needed_arguments(weights))}")
    if weights.images is None:
        print("images: unknown, the file does not show the preprocessing of its training")
    else:
        print("images: " + call("data_preprocessor=dict", weights.images.data_preprocessor()))
    if weights.folded:
        print("BatchNorm was folded and has placeholder statistics: train with norm_eval=True")
    print(f"written to {args.output}")
