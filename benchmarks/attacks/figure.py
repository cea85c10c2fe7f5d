"""The figures of the benchmark of attacks: maps against changed predictions, and maps against the object's size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from benchmarks.attacks import reason
from benchmarks.attacks.frontier import curves, with_usual_trained_part
from benchmarks.attacks.methods import OCCLUSION, PLUS_PLUS_LOGSUMEXP
from benchmarks.common.canvas import Canvas
from benchmarks.common.manipulated_models import EQUIVARIANT, LOGSUMEXP, MEAN, PLAIN, SHAM
from benchmarks.common.small_nets import RECEPTIVE_FIELDS

_COLOURS = {
    PLAIN: "#b2182b",
    LOGSUMEXP: "#2166ac",
    MEAN: "#1b7837",
    PLUS_PLUS_LOGSUMEXP: "#e08214",
    EQUIVARIANT[LOGSUMEXP]: "#762a83",
    OCCLUSION: "#666666",
}
_REASON_COLOURS = {
    **{name: _COLOURS[name] for name in (PLAIN, LOGSUMEXP, MEAN)},
    reason.EQUIVARIANT: _COLOURS[EQUIVARIANT[LOGSUMEXP]],
    OCCLUSION: _COLOURS[OCCLUSION],
}
_ROWS = {
    "hoax": "with the hoax map",
    "clean": "with the clean map",
    "own_occlusion": "with own occlusion map",
    "mask": "with the object's mask",
}
"""Measures, all of them correlations."""
_MOST_SETTINGS = 4
"""Settings in the figure, so that it is legible in a column of text; the tables have all."""
_SMALL, _LARGE = 10, 11
_WIDE, _HIGH, _LEFT, _TOP, _GAP = 2.15, 1.75, 0.75, 1.5, 0.5


def _panel(canvas: Canvas, column: int, row: int) -> Axes:
    axes = canvas.axes(_LEFT + column * (_WIDE + _GAP), _TOP + row * (_HIGH + _GAP), _WIDE, _HIGH)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(True)
    axes.set(ylim=(-0.75, 1.05), yticks=[-0.5, 0, 0.5, 1])
    axes.axhline(0, color="0.8", linewidth=0.8)
    axes.tick_params(labelsize=_SMALL)
    return axes


def _legend(canvas: Canvas, colours: dict[str, str]) -> None:
    left = _LEFT
    for name, colour in colours.items():
        canvas.text(left, 1.0, f"— {name}", color=colour, fontweight="bold", fontsize=_LARGE)
        left += 0.45 + 0.098 * len(name)


def draw_frontier(path: Path, points: Sequence[dict[str, Any]]) -> None:
    """Draw a column for each setting and a row for each measure; a line for each seed of SHAM against Grad-CAM."""
    lines = {key: curve for key, curve in curves(with_usual_trained_part(points)).items() if key[2] == SHAM}
    columns = list(dict.fromkeys(setting for setting, _, _, _ in lines))[:_MOST_SETTINGS]
    canvas = Canvas(_LEFT + max(len(columns), 3) * (_WIDE + _GAP), _TOP + len(_ROWS) * (_HIGH + _GAP) + 0.35)
    canvas.heading(
        "Correlation of maps under attack, against changed predictions",
        "SHAM against Grad-CAM of the true class; the weight of the map loss grows along each line. One line for each "
        "seed, on images that the attacker never saw.",
    )
    _legend(canvas, _COLOURS)
    for column, setting in enumerate(columns):
        for row, (key, label) in enumerate(_ROWS.items()):
            axes = _panel(canvas, column, row)
            for (line_setting, _, _, _), curve in lines.items():
                if line_setting != setting:
                    continue
                ordered = sorted(curve, key=lambda point: point["weight"])
                changed = [100 * (1 - point["predictions"]["kept"]) for point in ordered]
                for name, colour in _COLOURS.items():
                    values = [point["methods"][name].get(key, np.nan) for point in ordered]
                    axes.plot(changed, values, color=colour, marker="o", markersize=3, linewidth=1.2, alpha=0.85)
            axes.set_xscale("symlog", linthresh=1)
            axes.set(xlim=(-0.1, 100), xticks=[0, 1, 5, 20, 100], xticklabels=["0", "1", "5", "20", "100"])
            if column == 0:
                axes.set_ylabel(label, fontsize=_SMALL)
            if row == 0:
                axes.set_title(setting, fontsize=_LARGE)
            if row == len(_ROWS) - 1:
                axes.set_xlabel("confident predictions changed [%]", fontsize=_SMALL)
    canvas.save(path)


def draw_reason(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Draw correlations against the size of the object, and for three receptive fields."""
    canvas = Canvas(_LEFT + 4 * (_WIDE + _GAP), _TOP + _HIGH + 0.95)
    canvas.heading(
        "When the contrast fails",
        "Correlation of maps under SHAM against Grad-CAM with an accuracy budget of 5 %; glyphs of growing size. Means "
        "over images and seeds.",
    )
    _legend(canvas, _REASON_COLOURS)
    by_size = sorted((row for row in rows if row["receptive_field"] == reason.USUAL_FIELD), key=lambda row: row["size"])
    sizes = [row["size"] for row in by_size]
    panels = (
        ("hoax_beside", "hoax map, object beside it"),
        ("hoax_over", "hoax map, object under it"),
        ("own_occlusion", "own occlusion map"),
    )
    for column, (key, title) in enumerate(panels):
        axes = _panel(canvas, column, 0)
        for name, colour in _REASON_COLOURS.items():
            values = [row["methods"][name][key]["mean"] for row in by_size]
            axes.plot(sizes, values, color=colour, marker="o", markersize=4)
        axes.set(xticks=sizes)
        axes.set_title(title, fontsize=_LARGE)
        axes.set_xlabel("side of the object, of 56 pixels", fontsize=_SMALL)
    by_field = {row["receptive_field"]: row for row in rows if row["size"] == reason.FIELD_SIZE}
    fields = [field for field in RECEPTIVE_FIELDS if field in by_field]
    # A single field compares nothing.
    if len(fields) > 1:
        axes = _panel(canvas, len(panels), 0)
        for name, colour in _REASON_COLOURS.items():
            values = [by_field[field]["methods"][name]["hoax"]["mean"] for field in fields]
            axes.plot(range(len(fields)), values, color=colour, marker="o", markersize=4)
        axes.set(xticks=range(len(fields)), xticklabels=fields)
        axes.set_title("hoax map, by receptive field", fontsize=_LARGE)
        axes.set_xlabel(f"objects of {reason.FIELD_SIZE} pixels", fontsize=_SMALL)
    canvas.save(path)
