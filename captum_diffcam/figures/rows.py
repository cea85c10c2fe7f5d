"""Lay out a figure: rows of images and maps with texts above them, and a colour bar at the foot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_diffcam.figures.overlays import blended_colours
from captum_diffcam.figures.seen_region import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOR, AGAINST = "#b2182b", "#2166ac"
"""Red and blue, the colours of evidence for the class and against it."""

_ON_DARK = {FOR: "#f4846f", AGAINST: "#6db3e8", "black": "white"}
"""The colours of text on a dark background. Their contrast with black is at least 7 to 1."""
_POINTS, _LINE = 10, 0.17
"""The size of text, and the height of a line in inches."""
_WIDTH, _GAP = 2.1, 0.1
"""The width of an image and the gap beside it, in inches."""
_LETTERS = 24
"""The number of letters that fit above an image."""
_BAR_LETTERS = 52
"""The number of letters that fit below the colour bar in one line."""
_END_LETTERS = 20
"""The number of letters that fit below an end of the colour bar, whatever is below its other parts."""
_BAR = 0.45
"""The height of the colour bar with the space around it, in inches."""
_STYLE: dict[str, Any] = {"fontsize": _POINTS, "parse_math": False}


@dataclass(frozen=True)
class Cell:
    """An image or a map in a row of a figure."""

    image: Array | None
    """(H, W, 3), from 0 to 1. None leaves the place empty."""

    text: str = ""
    """The text above the image."""

    colour: str = "black"
    """The colour of the text: :data:`FOR`, :data:`AGAINST` or black."""

    note: str = ""
    """The text in the middle of the image."""

    outlines: Sequence[tuple[float, ...]] = ()
    """Boxes (x0, y0, x1, y1) in pixels of the image whose outlines are drawn."""


def draw_rows(
    rows: Sequence[Sequence[Cell]],
    words: tuple[str, str, str],
    positive: bool = False,
    *,
    headings: Sequence[str] = (),
    numbers: tuple[str, str, str] | None = None,
    remark: str = "",
) -> Figure:
    """Draw rows of an image and its maps, and a colour bar at the foot if there are maps.

    Args:
        rows: the cells of each row, the image first. All rows have as many cells.
        words: the words at the left end, the middle and the right end of the colour bar.
        positive: whether the maps show positive parts only.
        headings: the titles of the columns, in bold above the first row.
        numbers: the numbers at the left end, the middle and the right end of the colour bar.
        remark: the lines below the colour bar.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    columns = len(rows[0])
    texts = [[_wrapped(cell.text) for cell in row] for row in rows]
    heads = [_wrapped(heading) for heading in headings]
    in_one_line = sum(map(len, words)) <= _BAR_LETTERS
    labels = [list(words) if in_one_line else [_wrapped(word, _END_LETTERS, lines=3) for word in words]]
    if numbers is not None:
        labels.insert(0, list(numbers))
    # A row is as high as its image; a very tall image is drawn smaller.
    shapes = [row[0].image.shape for row in rows if row[0].image is not None]
    heights = [min(_WIDTH * shape[0] / shape[1], 2 * _WIDTH) for shape in shapes]
    above = [1.5 * _GAP + _LINE * max(map(_lines, row)) for row in texts]
    above_all = _LINE * max(map(_lines, heads), default=0)
    below = sum(max(map(_lines, line)) for line in labels) + _lines(remark)
    foot = _BAR + _LINE * below if columns > 1 else 0
    width = columns * (_WIDTH + _GAP) + _GAP
    height = above_all + sum(above) + sum(heights) + _GAP + foot
    # A Figure of its own needs no display and leaves pyplot alone.
    figure = Figure((width, height))
    ink = _legible_colours(figure)

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        """Add a box without frame and ticks, in inches from the upper left corner."""
        axes = figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    for j, head in enumerate(heads):
        x, y = (_GAP + j * (_WIDTH + _GAP) + _WIDTH / 2) / width, 1 - above_all / height
        figure.text(x, y, head, ha="center", va="bottom", color=ink["black"], fontweight="bold", **_STYLE)
    top = above_all
    for i, row in enumerate(rows):
        top += above[i]
        for j, (cell, text) in enumerate(zip(row, texts[i], strict=True)):
            axes = place(_GAP + j * (_WIDTH + _GAP), top, _WIDTH, heights[i])
            axes.patch.set_visible(False)
            if cell.image is not None:
                axes.imshow(cell.image)
            for x0, y0, x1, y1 in cell.outlines:
                # The centre of the first pixel is at 0. White over black is visible on any image.
                corner, size = (x0 - 0.5, y0 - 0.5), (x1 - x0, y1 - y0)
                axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="black", linewidth=2))
                axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=0.8))
            axes.set_title(text, color=ink[cell.colour], fontweight="normal" if j else "bold", pad=3, **_STYLE)
            if cell.note:
                box = {"facecolor": "white", "edgecolor": "none"}
                centre: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
                axes.text(0.5, 0.5, cell.note, color="black", bbox=box, **centre, **_STYLE)
        top += heights[i]
    if foot:
        wide = min(width - 2 * _GAP, 2 * _WIDTH)
        bar = place((width - wide) / 2, top + 2 * _GAP, wide, 0.13)
        bar.imshow([range(256)], cmap=blended_colours(positive), aspect="auto")
        inks = [ink["black"]] * 3 if positive else [ink[AGAINST], ink["black"], ink[FOR]]
        for i, line in enumerate(labels):
            # Points below the bar, because its height is less than a line.
            offset: dict[str, Any] = {"xytext": (0, -3 - 72 * _LINE * i), "textcoords": "offset points", "va": "top"}
            for label, x, side, colour in zip(line, (0, 0.5, 1), ("left", "center", "right"), inks, strict=True):
                bar.annotate(label, (x, 0), xycoords="axes fraction", ha=side, color=colour, **offset, **_STYLE)
        if remark:
            figure.text(0.5, 0.5 * _GAP / height, remark, ha="center", va="bottom", color=ink["black"], **_STYLE)
    return figure


def _legible_colours(figure: Figure) -> dict[str, str]:
    """Return the colours of texts that are legible on the background of a figure."""
    from matplotlib.colors import to_rgba

    *rgb, opacity = to_rgba(figure.get_facecolor())
    if opacity < 1:
        # What lies behind the figure is unknown.
        figure.set_facecolor("white")
        rgb = [1.0] * 3
    is_dark = float(np.dot(rgb, (0.2126, 0.7152, 0.0722))) < 0.4
    return {colour: on_dark if is_dark else colour for colour, on_dark in _ON_DARK.items()}


def _wrapped(text: str, letters: int = _LETTERS, lines: int = 2) -> str:
    """Return a text each of whose lines becomes at most so many lines, which fit above an image."""
    return "\n".join(
        part for line in text.split("\n") for part in textwrap.wrap(line, letters, max_lines=lines, placeholder="…")
    )


def _lines(text: str) -> int:
    return text.count("\n") + bool(text)
