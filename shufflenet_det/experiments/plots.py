"""The figure of published results: multiply-adds against mAP on COCO."""

import os
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter
from PIL import Image

from ..host.local_files import written_whole
from .published import PUBLISHED, Result

# Okabe and Ito's colours, which the colour-blind can tell apart; others than ShuffleNets are grey.
_COLORS = {"ShuffleNetV2*": "#D55E00", "ShuffleNetV2": "#0072B2", "ShuffleNetV1": "#009E73"}
_GREY = "#808080"
_NOTE = (
    "Figures of the papers and of the projects named, not of this one. Where a source counts a "
    "multiply-add as two operations, its figure is halved. Not all were tested on the same images."
)


class _Curve(NamedTuple):
    """Results drawn as one line, and where its label stands."""

    keys: str  # a pattern of fnmatch
    label: str
    offset: tuple[float, float] = (5, 0)  # points, from the end of the line
    align: str = "left"
    end: int = -1  # where the label is: 0 at the cheapest result, -1 at the costliest
    marker: str = "o"


_BACKBONES = (
    _Curve("v2/mobilenetv2_*", "MobileNetV2"),
    _Curve("v2/xception_*", "Xception", (5, -1.5)),
    _Curve("lighthead/*", "Xception, in Light-\nHead R-CNN's paper", (-5, 3), "right"),
    _Curve("detnas/fpn_*", "DetNAS, Faster R-CNN, FPN", (4, 7), "right", marker="s"),
    _Curve("detnas/retinanet_*", "DetNAS, RetinaNet", (3, 7), "right", marker="^"),
    _Curve("v1/mobilenet_600", "MobileNetV1,\nFaster R-CNN, 600 px", (5, 8), marker="s"),
    _Curve("v1/mobilenet_300", "MobileNetV1,\nFaster R-CNN, 300 px", marker="s"),
    _Curve("v1/shufflenet_*_600", "ShuffleNetV1,\nFaster R-CNN, 600 px", marker="s"),
    _Curve("v1/shufflenet_*_300", "ShuffleNetV1,\nFaster R-CNN, 300 px", (5, -8), marker="s"),
    _Curve("v2/shufflenetv1_*", "ShuffleNetV1", (5, -10)),
    _Curve("v2/shufflenetv2_*", "ShuffleNetV2", (5, 3)),
    _Curve("v2/shufflenetv2star_*", "ShuffleNetV2*", (5, 6)),
)
_DETECTORS = (
    _Curve("picodet/esnet_*", "PicoDet, ESNet", (-5, 3), "right"),
    _Curve("picodet/lcnet_[sml]_*", "PicoDet, LCNet", (-5, 3), "right"),
    _Curve("picodet/lcnet_xs_*", "PicoDet-XS,\nLCNet", (-5, 0), "right", end=0),
    _Curve("torchvision/ssdlite320_*", "SSDLite, MobileNetV3", (3, -47)),
    _Curve("torchvision/ssd300_*", "SSD, VGG-16", (4, 7), "right"),
    _Curve("rtmdet/*", "RTMDet-tiny, -s", (-5, 3), "right"),
    _Curve("yolox/*", "YOLOX-Nano, -Tiny"),
    _Curve("yolov5/*", "YOLOv5n"),
    _Curve("pelee/*", "Pelee"),
    _Curve("mobilenet/ssd_*", "SSD, MobileNetV1"),
    _Curve("mobilenet/faster_rcnn_*", "Faster R-CNN, MobileNetV1", (3, 7), "right"),
    _Curve("mobilenetv2/*", "SSDLite, MobileNetV2", (3, -47)),
    _Curve("nanodet/m_0.5x_*", "NanoDet-m 0.5x"),
    _Curve("nanodet/m_[34]*", "NanoDet-m", (-5, -1), "right", end=0),
    _Curve("nanodet/m_1.5x_*", "NanoDet-m 1.5x"),
    _Curve("nanodet/t_*", "NanoDet-t", (3, -30), "center"),
    _Curve("nanodet/plus_m_[34]*", "NanoDet-Plus-m", (5, 5)),
    _Curve("nanodet/plus_m_1.5x_*", "NanoDet-Plus-m 1.5x"),
    _Curve("picodet/shufflenetv2_*", "PicoDet, ShuffleNetV2", (8, -9)),
    _Curve("yolov5lite/*", "YOLOv5-Lite"),
    _Curve("thundernet/*", "ThunderNet", (4, -6)),
)


def draw_published() -> Figure:
    """Draw :data:`~shufflenet_det.experiments.PUBLISHED`: mAP over multiply-adds.

    The two costs that are published have a panel each, on a logarithmic axis of its own: the
    backbone's at 224x224, and the whole detector's at its own input size.
    """
    figure = Figure(figsize=(9, 6.4), dpi=200, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.3))
    _draw(left, _BACKBONES, lambda result: result.backbone_multiply_adds)
    left.set_title("Backbones, in Light-Head R-CNN unless named", fontsize=9)
    left.set_xlabel("multiply-adds of the backbone at 224x224", fontsize=8)
    left.set_xticks((40e6, 140e6, 300e6, 500e6, 1.3e9, 3.8e9))
    left.set_ylabel("mAP on COCO, %", fontsize=8)
    _draw(right, _DETECTORS, lambda result: result.multiply_adds)
    right.set_title("Whole detectors (blue: on ShuffleNetV2)", fontsize=9)
    right.set_xlabel("multiply-adds of the detector at its own input size", fontsize=8)
    right.set_xticks((200e6, 500e6, 1e9, 2e9, 5e9, 10e9, 20e9))
    right.set_xlim(left=100e6)
    figure.supxlabel(_NOTE, x=0.01, ha="left", fontsize=6.5, color=_GREY)
    return figure


def plot_published(path: str | os.PathLike[str]) -> None:
    """Write the figure of :func:`draw_published`, 1,800 pixels wide, whole or not at all.

    Args:
        path: Of the PNG file; its folder is made.

    Raises:
        ValueError: If ``path`` does not end in .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{str(path)!r}: must end in .png")
    canvas = FigureCanvasAgg(draw_published())
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    with written_whole(path) as partial:
        picture.quantize(64).save(partial, format="PNG", optimize=True)


def _draw(axes: Axes, curves: Sequence[_Curve], cost_of: Callable[[Result], float | None]) -> None:
    for curve in curves:
        results = [result for result in PUBLISHED if fnmatchcase(result.key, curve.keys)]
        points = sorted((1e6 * c, r.mAP) for r in results if (c := cost_of(r)) is not None)
        backbone = results[0].backbone
        color = next((color for name, color in _COLORS.items() if name in backbone), _GREY)
        axes.plot(
            *zip(*points, strict=True),
            color=color,
            marker=curve.marker,
            markersize=4,
            linewidth=0.8 if color == _GREY else 1.5,
            alpha=0.7 if color == _GREY else 1,
        )
        far = max(map(abs, curve.offset)) > 10
        side = 0.5 if curve.align == "center" else 0
        axes.annotate(
            curve.label,
            points[curve.end],
            curve.offset,
            textcoords="offset points",
            horizontalalignment=curve.align,
            verticalalignment="center",
            color=color,
            fontsize=7,
            path_effects=[withStroke(linewidth=2, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "relpos": (side, 1)}
            if far
            else None,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.minorticks_off()
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
