"""The figure of a study: the main measure of every method, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.common.canvas import wrap
from benchmarks.common.names import DIFF, GRAD_CAM
from benchmarks.faithfulness.options import CLASSES, GRIDPG, NATS, PARAMETERS, REMOVAL
from benchmarks.faithfulness.studies.report import Row, headline

TITLES = {
    GRIDPG: "Share of the positive map in the target's tile (right is better)",
    CLASSES: "Correlation with the map of the second class (left is better)",
    PARAMETERS: "Correlation with the map after the head was drawn anew (left is better)",
    REMOVAL: "Fall of the log-odds under ROAD, in nats (right is better)",
    NATS: "Fall of the score for each unit of the map in hidden 3 x 3 regions (1 is best)",
}
_MARKERS = "osD^vPX*"
_OURS, _GRAD_CAM, _OTHER = "#1b6ca8", "#d95f02", "0.45"


def draw_study(path: Path, study: str, rows: Sequence[Row], note: str | None) -> None:
    """Draw a line of dots for each method, a marker for each subject."""
    rows = [row for row in headline(study, rows) if row["value"] is not None]
    methods, subjects = (list(dict.fromkeys(row[key] for row in rows)) for key in ("method", "subject"))
    figure = Figure(figsize=(8, 1.6 + 0.36 * len(methods)), dpi=160, layout="constrained")
    axes = figure.subplots()
    for row in rows:
        i, method = subjects.index(row["subject"]), row["method"]
        place = methods.index(method) + 0.7 * ((i + 0.5) / len(subjects) - 0.5)
        colour = _OURS if method.startswith((DIFF, "DiffHiResCAM")) else _GRAD_CAM if method == GRAD_CAM else _OTHER
        axes.plot([row["lower"], row["upper"]], [place, place], color=colour, linewidth=1)
        axes.plot([row["value"]], [place], _MARKERS[i % len(_MARKERS)], color=colour, markersize=4)
    for i, subject in enumerate(subjects):
        axes.plot([], [], _MARKERS[i % len(_MARKERS)], color="0.2", linestyle="", label=subject)
    axes.set_yticks(range(len(methods)), [wrap(method, 40, 2) for method in methods], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(TITLES[study] + (f"\n{note}" if note else ""), fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path)
