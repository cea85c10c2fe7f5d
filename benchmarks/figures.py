"""Maps over photographs, with titles in words and a bar that says what the colours mean."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captum.attr import LayerAttribution
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

POSITIVE, SIGNED = "inferno", "RdBu_r"
FOR, AGAINST = "#b2182b", "#2166ac"
"""The ends of the signed colours, for text."""
_FAINT = "#444444"
_OPACITY = 0.6
_DPI = 110


@dataclass(frozen=True)
class Row:
    """A photograph with its maps. Shapes: photograph (H, W, 3) in 0 to 1, each map (h, w), signed."""

    photograph: Tensor
    title: str
    text: str
    maps: Sequence[Tensor]
    notes: Sequence[str]
    """One for each map."""


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

    def colour_bar(self, colours: str, ends: tuple[str, str], middle: str = "") -> None:
        """At the foot: the scale between the words for its two ends."""
        width, height, top = 2.6, 0.16, self.height - 0.32
        left, centre = (self.width - width) / 2, top + height / 2
        axes = self.axes(left, top, width, height)
        axes.set_facecolor("0.5")  # what a photograph in grey is on average
        axes.imshow([range(256)], cmap=colours, aspect="auto", alpha=_OPACITY)
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
    values = LayerAttribution.interpolate(map_[None, None], tuple(photograph.shape[:2]), "bilinear")[0, 0]
    values = values if signed else values.relu()
    limit = float(values.abs().max()) or 1.0
    axes.imshow(photograph.mean(dim=2).numpy(), cmap="gray", vmin=0, vmax=1)
    colours, lowest = (SIGNED, -limit) if signed else (POSITIVE, 0)
    axes.imshow(values.numpy(), cmap=colours, vmin=lowest, vmax=limit, alpha=_OPACITY)


def wrap(text: str, width: int, lines: int = 2) -> str:
    """The text in at most so many lines of at most so many characters."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder="…"))


def draw_methods(
    path: Path, title: str, explanation: str, groups: Sequence[tuple[str, Sequence[str]]], rows: Sequence[Row]
) -> None:
    """A row for each photograph: what the model says, the photograph, then the maps, in named groups of columns."""
    cell, step, gap, row_height, left_of_cells, header = 1.25, 1.31, 0.15, 1.52, 1.9, 1.65
    columns = 1 + sum(len(names) for _, names in groups)
    canvas = Canvas(left_of_cells + columns * step + len(groups) * gap + 0.06, header + len(rows) * row_height + 0.4)
    canvas.heading(title, explanation)
    lefts, left = [], left_of_cells + step
    for group, names in groups:
        left += gap
        lefts += [left + i * step for i in range(len(names))]
        width = len(names) * step - (step - cell)
        canvas.text(left + width / 2, 1.06, group, ha="center", va="bottom", fontsize=11, fontweight="bold")
        canvas.axes(left, 1.09, width, 0.015).set_facecolor("black")
        left += len(names) * step
    for left, name in zip(lefts, (name for _, names in groups for name in names), strict=True):
        canvas.text(left + cell / 2, header - 0.06, name, cell, ha="center", va="bottom")
    for i, row in enumerate(rows):
        top, right = header + i * row_height, left_of_cells - 0.1
        row_title = wrap(row.title, 20, 3)
        canvas.text(right, top + 0.1, row_title, right, ha="right", fontsize=10, fontweight="bold")
        below = top + 0.36 + 0.18 * row_title.count("\n")
        for j, line in enumerate(row.text.splitlines()):
            canvas.text(right, below + 0.16 * j, line, right, ha="right", color=_FAINT)
        canvas.axes(left_of_cells, top, cell, cell).imshow(row.photograph.numpy())
        for left, map_, note in zip(lefts, row.maps, row.notes, strict=True):
            draw_map(canvas.axes(left, top, cell, cell), row.photograph, map_, signed=False)
            canvas.text(left + cell / 2, top + cell + 0.04, note, ha="center", fontsize=8, color=_FAINT)
    canvas.colour_bar(POSITIVE, ("no evidence for the class", "strongest evidence in the map"))
    canvas.save(path)


def draw_questions(path: Path, title: str, explanation: str, rows: Sequence[Row]) -> None:
    """Two photographs a line: each with its signed map for one rival after another, both named in their colours."""
    cell, step, gap, row_height, header = 1.8, 1.9, 0.35, 2.4, 0.75
    blocks = min(2, len(rows))
    per_block = -(-len(rows) // blocks)
    block_width = (1 + max(len(row.maps) for row in rows)) * step + gap
    canvas = Canvas(max(0.1 + blocks * block_width, 7.5), header + per_block * row_height + 0.4)
    canvas.heading(title, explanation)
    for i, row in enumerate(rows):
        block, line = divmod(i, per_block)
        left, top = 0.12 + block * block_width, header + line * row_height + 0.55
        canvas.text(left, top - 0.1, row.text, cell, va="baseline", color=_FAINT)
        canvas.axes(left, top, cell, cell).imshow(row.photograph.numpy())
        for map_, rival in zip(row.maps, row.notes, strict=True):
            left += step
            canvas.text(left, top - 0.28, row.title, cell, va="baseline", color=FOR, fontweight="bold")
            canvas.text(left, top - 0.1, f"rather than {rival}", cell, va="baseline", color=AGAINST)
            draw_map(canvas.axes(left, top, cell, cell), row.photograph, map_, signed=True)
    canvas.colour_bar(SIGNED, ("speaks for the rival", "speaks for the class"), "neither")
    canvas.save(path)
