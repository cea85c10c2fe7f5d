"""A figure laid out in inches, with maps over photographs and a colour bar."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from captum_diffcam.figures import blended_colours, overlay

FAINT = "#444444"
_DPI = 150


class Canvas:
    """A figure laid out in inches from its upper left corner, so that texts do not overlap."""

    def __init__(self, width: float, height: float) -> None:
        # A Figure without pyplot needs no display.
        self.figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.width, self.height = width, height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return axes without frame and ticks."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(self, left: float, top: float, text: str, room: float | None = None, **style: Any) -> None:
        """Write text below a point, or aligned as the style says. The text is shrunk to fit into ``room``."""
        style = {"va": "top", "ha": "left", "fontsize": 9, "linespacing": 1.25, **style}
        drawn = self.figure.text(left / self.width, 1 - top / self.height, text, **style)
        width = drawn.get_window_extent().width / self.figure.dpi
        if room is not None and width > room:
            # Glyphs have whole pixels, so they shrink a little less than the font.
            drawn.set_fontsize(0.95 * style["fontsize"] * room / width)

    def heading(self, title: str, explanation: str) -> None:
        """Write the title, and the explanation below it."""
        self.text(0.12, 0.12, title, fontsize=14, fontweight="bold")
        self.text(0.12, 0.42, wrap(explanation, int(12.5 * self.width)), fontsize=10)

    def colour_bar(self, ends: tuple[str, str], middle: str = "", *, signed: bool) -> None:
        """Draw the colour scale at the foot, between the texts for its ends."""
        width, height, top = 2.6, 0.16, self.height - 0.32
        left, centre = (self.width - width) / 2, top + height / 2
        self.axes(left, top, width, height).imshow([range(256)], cmap=blended_colours(not signed), aspect="auto")
        self.text(left - 0.1, centre, ends[0], ha="right", va="center")
        self.text(left + width / 2, centre, middle, ha="center", va="center")
        self.text(left + width + 0.1, centre, ends[1], va="center")

    def save(self, path: Path) -> None:
        """Save a PNG with 256 colours, which has a third of the size and looks the same."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        image = Image.open(buffer).convert("RGB")
        # Pillow's default palette takes the commonest colours, which leaves out those of the photographs. A ninth of
        # the pixels has all colours.
        sample = image.resize((image.width // 3, image.height // 3), Image.Resampling.NEAREST)
        palette = sample.quantize(method=Image.Quantize.MAXCOVERAGE, kmeans=1)
        image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def draw_map(axes: Axes, photograph: Tensor, map_: Tensor, *, signed: bool) -> None:
    """Draw a map over its photograph in grey, scaled to the largest value of the map.

    With ``signed``, evidence against the target is drawn too, in the colours of the other half of the scale.
    """
    axes.imshow(overlay(photograph.permute(2, 0, 1)[None], map_[None, None], positive=not signed)[0])


def wrap(text: str, width: int, lines: int = 2) -> str:
    """Return the text in at most ``lines`` lines of at most ``width`` characters."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder="…"))
