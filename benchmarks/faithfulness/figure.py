"""The figure of the faithfulness benchmark: localization, deletion, and agreement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common.canvas import wrap
from benchmarks.common.names import DIFF, DIFF_PLUS_PLUS, GRAD_CAM, GRAD_CAM_PLUS_PLUS
from benchmarks.faithfulness.chunks import LOCALIZATION, PREDICTION
from benchmarks.faithfulness.methods import FINER, ODDS, PAIRWISE, RANDOM

Row: TypeAlias = dict[str, Any]

COLOURS = {
    GRAD_CAM: "#d95f02",
    GRAD_CAM_PLUS_PLUS: "#e6ab02",
    **dict(zip(FINER.values(), ("#b08bbf", "#8cb369"), strict=True)),
    PAIRWISE: "#1b6ca8",
    ODDS: "#0b3c5d",
    f"{DIFF_PLUS_PLUS}, rival": "#5aa9dd",
    RANDOM: "#9a9a9a",
}
Markers: TypeAlias = dict[str, str]
"""The marker of each subject."""
_MARKERS = "osD^vPX*"


def draw_faithfulness(path: Path, record: Row) -> None:
    """Draw the estimates. Two panels per line, so that labels are legible at the width of a column of text."""
    located = any(row["study"] == LOCALIZATION for row in record["estimates"])
    panels = [*[_localization] * located, _deletion, _agreement]
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(8, 0.6 + 3.9 * lines), dpi=160, layout="constrained")
    note = f"\n{record['note']}" if "note" in record else ""
    figure.suptitle(f"Bars are 95 % intervals, bootstrapped over images{note}", fontsize=10)
    places = list(figure.subplots(lines, 2, squeeze=False).flatten())
    names = list(dict.fromkeys(row["subject"] for row in record["estimates"]))
    markers = dict(zip(names, _MARKERS * len(names), strict=False))
    for panel, axes in zip(panels, places, strict=False):
        panel(axes, record, markers)
    for subject, marker in markers.items():
        places[0].plot([], [], marker, color="0.3", linestyle="", label=subject)
    _legend(figure, places, len(panels))
    figure.savefig(path)


def _legend(figure: Figure, places: Sequence[Axes], used: int) -> None:
    """Draw the legend in a free panel, or below if there is none."""
    handles, labels = places[0].get_legend_handles_labels()
    if used < len(places):
        places[used].set_axis_off()
        places[used].legend(handles, labels, loc="center", fontsize=9, alignment="left")
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)


def _rows(record: Row, study: str, measure: str) -> dict[tuple[str, str], Row]:
    return {
        (row["subject"], row["method"]): row
        for row in record["estimates"]
        if (row["study"], row["measure"], row["images"]) == (study, measure, "all")
    }


def _localization(axes: Axes, record: Row, markers: Markers) -> None:
    _dots(axes, _rows(record, LOCALIZATION, "AUROC"), markers)
    axes.axvline(0.5, color="0.6", linewidth=1)
    _describe(axes, '"A rather than B": high on A, low on B?', "AUROC of A's pixels against B's\n[right is better]")


def _deletion(axes: Axes, record: Row, markers: Markers) -> None:
    rows = _rows(record, PREDICTION, "deletion of margin")
    _dots(axes, {key: row["minus"][GRAD_CAM] for key, row in rows.items() if GRAD_CAM in row["minus"]}, markers)
    axes.axvline(0, color="0.6", linewidth=1)
    _describe(
        axes,
        "Deletion: does the margin fall?",
        "area under the margin's curve, minus that\nof LayerGradCam  [logit; left is better]",
    )


def _describe(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(label, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.grid(axis="x", alpha=0.3)


def _dots(axes: Axes, rows: dict[tuple[str, str], Row], markers: Markers) -> None:
    """Draw methods from top to bottom, with the subjects of each close together."""
    subjects = list(dict.fromkeys(subject for subject, _ in rows))
    methods = [method for method in COLOURS if any(name == method for _, name in rows)]
    for i, subject in enumerate(subjects):
        for line, method in enumerate(methods):
            row = rows.get((subject, method))
            if row is None:
                continue
            place = line + 0.6 * ((i + 0.5) / len(subjects) - 0.5)
            bar = [[row["value"] - row["lower"]], [row["upper"] - row["value"]]]
            axes.errorbar(
                [row["value"]],
                [place],
                xerr=bar,
                marker=markers[subject],
                color=COLOURS[method],
                markersize=5,
                capsize=2,
            )
    axes.set_yticks(range(len(methods)), [wrap(method, 17, 3) for method in methods], fontsize=9)
    axes.invert_yaxis()


def _agreement(axes: Axes, record: Row, markers: Markers) -> None:
    rows = [row for row in record["agreement"] if row["study"] == PREDICTION and row["with"] == GRAD_CAM]
    rows = [row for row in rows if row["method"].startswith(DIFF) and not row["method"].startswith(DIFF_PLUS_PLUS)]
    methods, subjects = (list(dict.fromkeys(row[key] for row in rows)) for key in ("method", "subject"))
    for row in rows:
        i = subjects.index(row["subject"])
        place = methods.index(row["method"]) + 0.6 * ((i + 0.5) / len(subjects) - 0.5)
        axes.plot(row["quartiles"], [place, place], color="#1b6ca8", linewidth=2, alpha=0.5)
        axes.plot([row["median"]["value"]], [place], markers[row["subject"]], color="#1b6ca8", markersize=5)
    axes.axvline(0.95, color="0.6", linewidth=1)
    axes.set_yticks(range(len(methods)), [wrap(method, 17, 3) for method in methods], fontsize=9)
    axes.invert_yaxis()
    _describe(axes, "Agreement: medians and quartiles", "correlation with LayerGradCam's signed map")
