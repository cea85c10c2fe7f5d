"""A figure of rows: images with their maps beside them, a text above each, and the scale of the colours below."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from captum_diffcam.pictures import blended_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES, _GAP, _LINE, _SCALE = 2.0, 0.08, 0.155, 0.45
"""The width of a picture, the gap beside it, the height of a line of text, and of the scale at the foot."""
_LETTERS = 26
"""So many fit above a picture."""
SIGNED = ("speaks against the class", "neither", "speaks for the class")
POSITIVE = ("no evidence for the class", "", "strongest evidence")
"""What the ends and the middle of the scale mean, for signed maps and for what is positive of them."""


def rows_of_maps(
    pictures: Tensor,
    drawn: np.ndarray[Any, Any],
    texts: Sequence[Sequence[str]],
    colours: Sequence[str],
    ends: tuple[str, str, str],
    positive: bool,
) -> Figure:
    """Rows of an image and its maps, with a text above each, and the scale of their colours below."""
    from matplotlib.figure import Figure

    n, height, width = pictures.shape[:3]
    if not n:
        raise ValueError("images: got none; allowed is at least one")
    columns, maps_there = 1 + drawn.shape[1], drawn.shape[1] > 0
    cell = min(_INCHES * height / width, 2 * _INCHES)
    lines = [[_wrapped(text) for text in row] for row in texts]
    above = [1.5 * _GAP + _LINE * max(len(text.splitlines()) for text in row) for row in lines]
    size = (columns * (_INCHES + _GAP) + _GAP, sum(above) + n * cell + _GAP + _SCALE * maps_there)
    # A Figure of its own needs no display and leaves pyplot alone.
    figure = Figure(size)

    def place(left: float, top: float, wide: float, high: float) -> Axes:
        """A box without frame and ticks, in inches from the upper left corner."""
        axes = figure.add_axes((left / size[0], 1 - (top + high) / size[1], wide / size[0], high / size[1]))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    top = 0.0
    for picture, maps, row, its in zip(pictures.numpy(), drawn, lines, above, strict=True):
        top += its
        for i, (shown, text, colour) in enumerate(zip((picture, *maps), row, colours, strict=True)):
            axes = place(_GAP + i * (_INCHES + _GAP), top, _INCHES, cell)
            axes.imshow(shown)
            axes.set_title(text, color=colour, fontsize=9, fontweight="normal" if i else "bold", pad=3)
        top += cell
    if maps_there:
        wide = min(size[0] - 2 * _GAP, 2 * _INCHES)
        scale = place((size[0] - wide) / 2, top + 2 * _GAP, wide, 0.13)
        scale.imshow([range(256)], cmap=blended_colours(positive), aspect="auto")
        for end, x, side in zip(ends, (0, 0.5, 1), ("left", "center", "right"), strict=True):
            scale.text(x, -0.3, end, ha=side, va="top", fontsize=9, transform=scale.transAxes)
    return figure


def _wrapped(text: str) -> str:
    """Each line of the text in at most two that fit above a picture."""
    return "\n".join(
        part for line in text.split("\n") for part in textwrap.wrap(line, _LETTERS, max_lines=2, placeholder="…")
    )
