"""Draw published.png: mAP on COCO over multiply-adds, of both papers and of published.csv.

python docs/published/plot.py
"""

import csv
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from shufflenet_det.papers.published import COCO_ROWS

HERE = Path(__file__).parent
# Okabe and Ito's colours, which the colour-blind can tell apart; others than ShuffleNets are grey.
COLORS = {"ShuffleNetV2*": "#D55E00", "ShuffleNetV2": "#0072B2", "ShuffleNetV1": "#009E73"}
GREY = "#606060"
NOTE = (
    "Figures of the papers and of the projects named, not of this one. Where a source counts a "
    "multiply-add as two operations, its figure is halved. Not all were tested on the same images."
)


def main() -> None:
    with open(HERE / "published.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(12, 7.5), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.6))

    def of(row):  # "v2/shufflenetv2_1x" -> "v2/shufflenetv2", "v1/shufflenet_2x_600" -> … 600
        name = row.key.rpartition("_")[0]
        return f"v1 {row.size} {row.backbone.split()[0]}" if row.paper == "v1" else name

    for _, group in groupby(sorted(COCO_ROWS.values(), key=of), key=of):
        line = list(group)
        backbone = line[0].backbone.split()[0].rstrip(",")
        label = backbone if line[0].paper == "v2" else f"{backbone}, {line[0].size} px"
        points = [(1e6 * row.backbone_multiply_adds, row.mAP) for row in line]
        draw(left, points, label, backbone, "o" if line[0].paper == "v2" else "s")
    detnas = [row for row in rows if row["key"].startswith("detnas/fpn")]
    points = [(1e6 * float(r["backbone_multiply_adds_m"]), float(r["mAP"])) for r in detnas]
    draw(left, points, "DetNAS, Faster R-CNN, FPN", "ShuffleNetV2", "^")
    left.set_title("Both papers' tables, and DetNAS", fontsize=9)
    left.set_xlabel("multiply-adds of the backbone at 224x224", fontsize=8)
    left.set_ylabel("mAP on COCO, %", fontsize=8)

    counted = [row for row in rows if row["flops_m"]]
    for detector, group in groupby(counted, key=lambda row: row["detector"]):
        line = list(group)
        points = [
            (1e6 * float(r["flops_m"]) / int(r["flops_per_multiply_add"]), float(r["mAP"]))
            for r in line
        ]
        draw(right, points, detector, line[0]["backbone"], "o")
    right.set_title("Whole detectors (blue: on ShuffleNetV2)", fontsize=9)
    right.set_xlabel("multiply-adds of the detector at its own input size", fontsize=8)
    figure.supxlabel(NOTE, x=0.01, ha="left", fontsize=7, color=GREY)
    figure.savefig(HERE / "published.png")


def draw(axes, points, label: str, backbone: str, marker: str) -> None:
    points = sorted(points)
    color = next((color for name, color in COLORS.items() if name in backbone), GREY)
    axes.plot(*zip(*points, strict=True), marker=marker, markersize=4, linewidth=1, color=color)
    axes.annotate(label, points[-1], (4, 3), textcoords="offset points", fontsize=6, color=color)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.tick_params(labelsize=7)


if __name__ == "__main__":
    main()
