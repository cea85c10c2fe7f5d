"""The frontier: what maps show against decisions lost. And the reason: the same against the size of the object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from benchmarks.attacks.frontier import curves, of_usual_reach
from benchmarks.attacks.methods import GRAD_CAM, LOGSUMEXP, MEAN, MOVING, OCCLUSION
from benchmarks.common.canvas import Canvas
from benchmarks.common.forging import SHAM

_COLOURS = {
    GRAD_CAM: "#b2182b",
    LOGSUMEXP: "#2166ac",
    MEAN: "#1b7837",
    "++ logsumexp": "#e08214",
    MOVING[LOGSUMEXP]: "#762a83",
    "equivariant part": "#762a83",
    OCCLUSION: "#666666",
}
_ROWS = {
    "hoax": "correlation with the hoax",
    "clean": "with the own honest map",
    "own_occlusion": "with the forged model's occlusion",
    "mask": "with the object's mask",
}
FIELDS = ("one cell", "37 pixels", "whole image")
"""What a position of the nets sees."""
_SIDE = 20
_MOST = 4
"""Settings in the figure, so that it can be read in a column of text; the tables have all."""
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


def _legend(canvas: Canvas, names: Sequence[str]) -> None:
    left = _LEFT
    for name in names:
        canvas.text(left, 1.0, f"— {name}", color=_COLOURS[name], fontweight="bold", fontsize=_LARGE)
        left += 0.45 + 0.098 * len(name)


def draw_frontier(path: Path, points: Sequence[dict[str, Any]]) -> None:
    """A column for each setting, a row for each measure; a thin line for each seed of SHAM against Grad-CAM."""
    found = {key: curve for key, curve in curves(of_usual_reach(points)).items() if key[2] == SHAM}
    columns = list(dict.fromkeys(setting for setting, _, _, _ in found))[:_MOST]
    canvas = Canvas(_LEFT + max(len(columns), 3) * (_WIDE + _GAP), _TOP + len(_ROWS) * (_HIGH + _GAP) + 0.35)
    canvas.heading(
        "What maps show, against what the attack costs",
        "SHAM against Grad-CAM of the true class, its weight growing along each line; one line for each seed. "
        " Images that the attacker never saw.",
    )
    names = [name for name in _COLOURS if name != "equivariant part"]
    _legend(canvas, names)
    for column, setting in enumerate(columns):
        for row, (key, label) in enumerate(_ROWS.items()):
            axes = _panel(canvas, column, row)
            for (its_setting, _, _, _), curve in found.items():
                if its_setting != setting:
                    continue
                ordered = sorted(curve, key=lambda point: point["weight"])
                lost = [100 * (1 - point["predictions"]["kept"]) for point in ordered]
                for name in names:
                    values = [point["methods"][name].get(key, np.nan) for point in ordered]
                    axes.plot(lost, values, color=_COLOURS[name], marker="o", markersize=3, linewidth=1.2, alpha=0.85)
            axes.set_xscale("symlog", linthresh=1)
            axes.set(xlim=(-0.1, 100), xticks=[0, 1, 5, 20, 100], xticklabels=["0", "1", "5", "20", "100"])
            if column == 0:
                axes.set_ylabel(label, fontsize=_SMALL)
            if row == 0:
                axes.set_title(setting, fontsize=_LARGE)
            if row == len(_ROWS) - 1:
                axes.set_xlabel("% of confident decisions lost", fontsize=_SMALL)
    canvas.save(path)


def draw_reason(path: Path, reasons: Sequence[dict[str, Any]]) -> None:
    """Against the object's size: over and beside the hoax; and for three receptive fields."""
    canvas = Canvas(_LEFT + 4 * (_WIDE + _GAP), _TOP + _HIGH + 0.95)
    canvas.heading(
        "When the contrast gives way",
        "Correlation of maps under SHAM against Grad-CAM, at most 5 % of the decisions lost; glyphs of growing size. "
        "Means over images and seeds.",
    )
    names = [GRAD_CAM, LOGSUMEXP, MEAN, "equivariant part", OCCLUSION]
    _legend(canvas, names)
    plain = sorted((each for each in reasons if each["receptive_field"] == "37 pixels"), key=lambda each: each["size"])
    sizes = [each["size"] for each in plain]
    panels = (
        ("hoax_beside", "hoax, object beside it"),
        ("hoax_over", "hoax, object under it"),
        ("own_occlusion", "forged model's occlusion"),
    )

    for column, (key, title) in enumerate(panels):
        axes = _panel(canvas, column, 0)
        for name in names:
            values = [each["methods"][name][key]["mean"] for each in plain]
            axes.plot(sizes, values, color=_COLOURS[name], marker="o", markersize=4)
        axes.set(xticks=sizes)
        axes.set_title(title, fontsize=_LARGE)
        axes.set_xlabel("side of the object, of 56 pixels", fontsize=_SMALL)
    by_field = {each["receptive_field"]: each for each in reasons if each["size"] == _SIDE}
    fields = [field for field in FIELDS if field in by_field]
    # One alone compares nothing.
    if len(fields) > 1:
        axes = _panel(canvas, len(panels), 0)
        for name in names:
            values = [by_field[field]["methods"][name]["hoax"]["mean"] for field in fields]
            axes.plot(range(len(fields)), values, color=_COLOURS[name], marker="o", markersize=4)
        axes.set(xticks=range(len(fields)), xticklabels=fields)
        axes.set_title("hoax, by what a position sees", fontsize=_LARGE)
        axes.set_xlabel(f"objects of {_SIDE} pixels", fontsize=_SMALL)
    canvas.save(path)
