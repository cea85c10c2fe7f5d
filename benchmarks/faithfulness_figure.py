"""The figure of the faithfulness benchmark: localization, deletion, curves and agreement."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.explainers import DIFF, DIFF_PLUS_PLUS, FINER, PAIRWISE, RANDOM
from benchmarks.methods import GRAD_CAM, GRAD_CAM_PLUS_PLUS
from benchmarks.questions import EVERY_OTHER
from benchmarks.subjects import DECISION, LOCALIZATION

Row: TypeAlias = dict[str, Any]

ODDS = f"{DIFF} logsumexp, {EVERY_OTHER.label}"
COLOURS = {
    GRAD_CAM: "#d95f02",
    GRAD_CAM_PLUS_PLUS: "#e6ab02",
    **dict(zip(FINER.values(), ("#b08bbf", "#8cb369"), strict=True)),
    PAIRWISE: "#1b6ca8",
    ODDS: "#0b3c5d",
    f"{DIFF_PLUS_PLUS}, rival": "#5aa9dd",
    RANDOM: "#9a9a9a",
}
_MARKERS = "osD^vP"


def draw_faithfulness(path: Path, record: Row) -> None:
    """Four panels; one is left out where its study was not made."""
    located = [row for row in record["estimates"] if row["study"] == LOCALIZATION and row["images"] == "all"]
    panels = [_localization] * bool(located) + [_deletion, _curves, _agreement]
    figure = Figure(figsize=(13, 9.5 if len(panels) > 2 else 5), dpi=110, layout="constrained")
    figure.suptitle("Is it the better map?   Bars are 95 % intervals, bootstrapped over images", fontsize=14)
    axes = figure.subplots(2, 2).flat
    for panel, place in zip(panels, axes, strict=False):
        panel(place, record)
    for place in list(axes)[len(panels) :]:
        place.set_axis_off()
    figure.savefig(path)


def _rows(record: Row, study: str, measure: str) -> dict[tuple[str, str], Row]:
    return {
        (row["subject"], row["method"]): row
        for row in record["estimates"]
        if (row["study"], row["measure"], row["images"]) == (study, measure, "all")
    }


def _localization(axes: Axes, record: Row) -> None:
    found = _rows(record, LOCALIZATION, "AUROC")
    _dots(axes, found)
    axes.axvline(0.5, color="0.6", linewidth=1)
    axes.set(title='"A rather than B": does the map light A and darken B?', xlabel="AUROC of A's pixels against B's")


def _deletion(axes: Axes, record: Row) -> None:
    found = _rows(record, DECISION, "deletion of margin")
    _dots(axes, {key: row["minus"][GRAD_CAM] for key, row in found.items() if GRAD_CAM in row["minus"]})
    axes.axvline(0, color="0.6", linewidth=1)
    axes.set(
        title="Deletion: does the class fall behind its rival?",
        xlabel="area under the margin's curve, minus LayerGradCam's  [logit; left is better]",
    )


def _dots(axes: Axes, found: dict[tuple[str, str], Row]) -> None:
    """Methods from top to bottom, subjects beside each other."""
    subjects = list(dict.fromkeys(subject for subject, _ in found))
    methods = [method for method in COLOURS if any(name == method for _, name in found)]
    for i, subject in enumerate(subjects):
        for line, method in enumerate(methods):
            row = found.get((subject, method))
            if row is None:
                continue
            place = line + 0.6 * ((i + 0.5) / len(subjects) - 0.5)
            bar = [[row["value"] - row["lower"]], [row["upper"] - row["value"]]]
            axes.errorbar(
                [row["value"]],
                [place],
                xerr=bar,
                marker=_MARKERS[i % 6],
                color=COLOURS[method],
                markersize=5,
                capsize=2,
            )
        axes.plot([], [], _MARKERS[i % 6], color="0.3", linestyle="", label=subject)
    axes.set_yticks(range(len(methods)), methods)
    axes.invert_yaxis()
    axes.legend(fontsize=8)
    axes.grid(axis="x", alpha=0.3)


def _curves(axes: Axes, record: Row) -> None:
    # The last of what was trained sees two objects; else whatever there is.
    subject = record["deletion"][-1]["subject"]
    drawn = [row for row in record["deletion"] if row["subject"] == subject and row["method"] in COLOURS]
    for row in sorted(drawn, key=lambda row: list(COLOURS).index(row["method"])):
        shares = [100 * step / (len(row["margin"]) - 1) for step in range(len(row["margin"]))]
        axes.plot(shares, row["margin"], color=COLOURS[row["method"]], label=row["method"], marker=".")
    axes.axhline(0, color="0.6", linewidth=1)
    axes.set(
        title=f"Deletion on {subject}",
        xlabel="pixels deleted, the highest of the map first  [%]",
        ylabel="margin over the strongest rival  [logit]",
    )
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)


def _agreement(axes: Axes, record: Row) -> None:
    rows = [row for row in record["agreement"] if row["study"] == DECISION and row["with"] == GRAD_CAM]
    rows = [row for row in rows if row["method"].startswith(DIFF) and not row["method"].startswith(DIFF_PLUS_PLUS)]
    methods, subjects = (list(dict.fromkeys(row[key] for row in rows)) for key in ("method", "subject"))
    for row in rows:
        i = subjects.index(row["subject"])
        place = methods.index(row["method"]) + 0.6 * ((i + 0.5) / len(subjects) - 0.5)
        axes.plot(row["quartiles"], [place, place], color="#1b6ca8", linewidth=2, alpha=0.5)
        axes.plot([row["median"]["value"]], [place], _MARKERS[i % 6], color="#1b6ca8", markersize=5)
    for i, subject in enumerate(subjects):
        axes.plot([], [], _MARKERS[i % 6], color="0.3", linestyle="", label=subject)
    axes.axvline(0.95, color="0.6", linewidth=1)
    axes.set_yticks(range(len(methods)), methods)
    axes.invert_yaxis()
    axes.set(
        title="Agreement on honest models: medians and quartiles", xlabel="correlation with LayerGradCam's signed map"
    )
    axes.legend(fontsize=8)
    axes.grid(axis="x", alpha=0.3)
