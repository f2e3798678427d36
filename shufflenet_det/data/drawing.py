"""Draw boxes and labels with supervision, in sizes that fit the image."""

from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any

import matplotlib
import supervision as sv

_SHADES = ((0.7, 1.0), (0.95, 0.95), (0.55, 1.0), (0.8, 0.75), (0.4, 1.0))  # saturation, value
_FONT = "fonts/ttf/DejaVuSans.ttf"  # of matplotlib; has Latin, Greek and Cyrillic letters
# Hues by the golden ratio, so that neighbours in the list of classes differ, in five shades.
PALETTE = sv.ColorPalette(
    [
        sv.Color(*(round(255 * part) for part in hsv_to_rgb(0.76 + i * 0.618034, *_SHADES[i % 5])))
        for i in range(80)
    ]
)


def annotators(
    size: tuple[int, int], palette: sv.ColorPalette = PALETTE
) -> tuple[sv.BoxAnnotator, sv.RichLabelAnnotator]:
    """Make the annotators for boxes and for labels.

    Args:
        size: Width and height of the image in pixels.
        palette: Colours by class. The text is black on light colours, white on dark ones.
    """
    scale = sv.calculate_optimal_text_scale(size)  # 1 at 1000 pixels
    thickness = max(sv.calculate_optimal_line_thickness(size), round(3 * scale))
    text: list[Any] = [
        # by ITU-R BT.601's luma
        sv.Color.BLACK if 0.299 * c.r + 0.587 * c.g + 0.114 * c.b > 140 else sv.Color.WHITE
        for c in palette.colors
    ]
    label = sv.RichLabelAnnotator(
        palette,
        text_color=sv.ColorPalette(text),
        font_path=str(Path(matplotlib.get_data_path()) / _FONT),
        font_size=max(10, round(22 * scale)),
        text_padding=max(2, round(4 * scale)),
        smart_position=True,
    )
    return sv.BoxAnnotator(palette, thickness), label
