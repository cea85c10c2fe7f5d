"""A figure laid out in inches, maps over photographs, and a bar that says what the colours mean."""

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
    """A figure laid out in inches from its upper left corner, where no text can run into another."""

    def __init__(self, width: float, height: float) -> None:
        # A Figure of its own needs no display and leaves pyplot alone.
        self.figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.width, self.height = width, height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """A box without frame and ticks."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(box)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def text(self, left: float, top: float, text: str, room: float | None = None, **style: Any) -> None:
        """Text that hangs from a point, or is aligned with it as the style says; smaller where it needs more room."""
        style = {"va": "top", "ha": "left", "fontsize": 9, "linespacing": 1.25, **style}
        drawn = self.figure.text(left / self.width, 1 - top / self.height, text, **style)
        width = drawn.get_window_extent().width / self.figure.dpi
        if room is not None and width > room:
            # Glyphs have whole pixels, so they do not shrink quite as much as the font.
            drawn.set_fontsize(0.95 * style["fontsize"] * room / width)

    def heading(self, title: str, explanation: str) -> None:
        """The first line, and what is said under it, in as many lines as it takes."""
        self.text(0.12, 0.12, title, fontsize=14, fontweight="bold")
        self.text(0.12, 0.42, wrap(explanation, int(12.5 * self.width)), fontsize=10)

    def colour_bar(self, ends: tuple[str, str], middle: str = "", *, signed: bool) -> None:
        """At the foot: the scale between the words for its two ends."""
        width, height, top = 2.6, 0.16, self.height - 0.32
        left, centre = (self.width - width) / 2, top + height / 2
        self.axes(left, top, width, height).imshow([range(256)], cmap=blended_colours(not signed), aspect="auto")
        self.text(left - 0.1, centre, ends[0], ha="right", va="center")
        self.text(left + width / 2, centre, middle, ha="center", va="center")
        self.text(left + width + 0.1, centre, ends[1], va="center")

    def save(self, path: Path) -> None:
        """As a PNG of 256 colours, a third of the size with no difference to see."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        image = Image.open(buffer).convert("RGB")
        # Pillow's default palette is drawn from the commonest colours, which are the maps', not the photographs'.
        # A ninth of the pixels shows all colours too.
        sample = image.resize((image.width // 3, image.height // 3), Image.Resampling.NEAREST)
        palette = sample.quantize(method=Image.Quantize.MAXCOVERAGE, kmeans=1)
        image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


def draw_map(axes: Axes, photograph: Tensor, map_: Tensor, *, signed: bool) -> None:
    """The map over its photograph in grey, so that all colour is the map's, scaled to its own largest value.

    With ``signed`` evidence against the target shows too, in the colours of the other half of the scale.
    """
    axes.imshow(overlay(photograph.permute(2, 0, 1)[None], map_[None, None], positive=not signed)[0])


def wrap(text: str, width: int, lines: int = 2) -> str:
    """The text in at most so many lines of at most so many characters."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder="…"))
