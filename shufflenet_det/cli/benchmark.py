"""Time backbones, detectors, training steps, evaluation and annotation reading, against peers."""

import argparse
import os
import time
from typing import Any

EXAMPLE = "shufflenet-det benchmark backbone --size 800 1216 --chart backbone.png"
WHAT = ("backbone", "detector", "train", "eval", "data", "growth")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "what", choices=WHAT, help="what to time; growth: by image side, batch size and width"
    )
    parser.add_argument(
        "--size", nargs=2, type=_positive, default=(320, 320), metavar=("HEIGHT", "WIDTH")
    )
    parser.add_argument(
        "--batch", type=_positive, default=8, help="images in a training step (%(default)s)"
    )
    parser.add_argument(
        "--images",
        type=_positive,
        default=5000,
        help="images in the data set of eval and data (%(default)s)",
    )
    parser.add_argument(
        "--threads", type=_positive, default=os.cpu_count(), help="threads (all cores: %(default)s)"
    )
    parser.add_argument(
        "--blocks",
        type=_positive,
        default=3,
        help="blocks of each runtime (%(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=5,
        help="timed calls of a candidate in a block (%(default)s)",
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: CPU seconds, summed over threads; for a busy machine, with "
        "OMP_WAIT_POLICY=passive (%(default)s)",
    )
    parser.add_argument(
        "--json", metavar="FOLDER", help="write the results to a JSON file in this folder"
    )
    parser.add_argument("--chart", metavar="FILE.png", help="draw the medians as bars")
    parser.add_argument(
        "--profile", action="store_true", help="print the slowest operators of the first candidate"
    )


def _positive(word: str) -> int:
    if not word.isdecimal() or not int(word):
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, not {word!r}")
    return int(word)


def run(args: argparse.Namespace) -> None:
    """Measure the candidates, then print and write the results."""
    from shufflenet_det.deploy import benchmark
    from shufflenet_det.papers import results

    missing = benchmark.Missing()
    size = tuple(args.size)
    make = {
        "backbone": lambda: benchmark.backbones(size, args.threads, missing),
        "detector": lambda: benchmark.detectors(size, args.threads, missing),
        "train": lambda: benchmark.steps(size, args.batch, missing),
        "eval": lambda: benchmark.evaluations(args.images, missing),
        "data": lambda: benchmark.annotations(args.images),
        "growth": lambda: benchmark.growth(missing),
    }
    candidates = make[args.what]()
    benchmark.measure(
        candidates,
        blocks=args.blocks,
        rounds=args.rounds,
        threads=args.threads,
        clock=time.process_time if args.clock == "cpu" else time.perf_counter,
    )
    by_name = {candidate.name: candidate for candidate in candidates}
    metrics = {name: c.metrics(by_name[c.base]) for name, c in by_name.items()}
    if args.what in ("growth", "data"):
        for name, candidate in by_name.items():
            if (peak := benchmark.peak_megabytes(candidate.run)) is not None:
                metrics[name]["peak_mb"] = round(peak, 1)
    provenance = results.provenance(*benchmark.PACKAGES)
    versions = ", ".join(f"{k} {v}" for k, v in provenance["versions"].items())
    print(f"{provenance['hardware']}, {args.threads} threads; {versions}")
    print(
        f"median and quartiles of {args.blocks}x{args.rounds} calls; "
        "ratio: to the candidate above with ratio 1.00"
    )
    width = max(map(len, metrics))
    print(f"{'':{width}}  ratio        ms  quartiles")
    for name, row in metrics.items():
        memory = f"  {row['peak_mb']:.0f} MB" if "peak_mb" in row else ""
        print(
            f"{name:{width}}  {row['ratio']:5.2f}  {row['ms']:8.2f}  "
            f"{row['low']:.2f} to {row['high']:.2f}{memory}"
        )
    for line in dict.fromkeys(missing):
        print(f"missing: {line}")
    if args.profile:
        print(benchmark.operators(candidates[0]))
    if args.json:
        print(f"written: {_write(args, metrics, provenance)}")
    if args.chart:
        _draw(args.chart, metrics)
        print(f"written: {args.chart}")


def _write(args: argparse.Namespace, metrics: dict[str, Any], provenance: dict[str, Any]) -> Any:
    from shufflenet_det.papers import results

    pixels = "x".join(map(str, args.size))
    name = f"performance_{args.what}"
    data: dict[str, Any] = {"name": "a photograph"}
    columns = {"network": "name", "ratio": "metrics.ratio:.2f", "ms": "metrics.ms:.1f"}
    columns |= {"lower quartile": "metrics.low:.1f", "upper quartile": "metrics.high:.1f"}
    options = {key: getattr(args, key) for key in ("threads", "blocks", "rounds", "clock")}
    if args.what in ("backbone", "detector", "train"):
        name, data = f"{name}_{pixels}", {**data, "pixels": pixels}
    if args.what in ("eval", "data"):
        data = {"name": "synthetic", "test_images": args.images}
    if args.what in ("growth", "data"):
        columns["peak, MB"] = "metrics.peak_mb:.0f"
    if args.what == "train":
        options["batch"] = args.batch
    shared = {"config": "", "options": options, "seed": None, "data": data, "budget": {}}
    title = f"Time of {args.what}"
    for label, row in metrics.items():
        full = {"name": label, "metrics": row, **shared, **provenance}
        path = results.add(name, full, title=title, columns=columns, folder=args.json)
    return path


def _draw(path: str, metrics: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.28 * len(metrics)), layout="constrained")
    axes = figure.subplots()
    medians = [row["ms"] for row in metrics.values()]
    spread = [[row["ms"] - row["low"], row["high"] - row["ms"]] for row in metrics.values()]
    axes.barh(list(metrics), medians, xerr=list(zip(*spread, strict=True)))
    axes.invert_yaxis()
    axes.set_xlabel("ms, median and quartiles")
    figure.savefig(path)
