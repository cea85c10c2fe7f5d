"""The figure of the faithfulness benchmark: localization, deletion and its curves, agreement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common.canvas import wrap
from benchmarks.common.names import DIFF, DIFF_PLUS_PLUS, GRAD_CAM, GRAD_CAM_PLUS_PLUS
from benchmarks.faithfulness.chunks import DECISION, LOCALIZATION
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
_MARKERS = "osD^vP"


def draw_faithfulness(path: Path, record: Row) -> None:
    """Above what is estimated, below the deletion curves of every subject. What was not studied is left out."""
    located = any(row["study"] == LOCALIZATION for row in record["estimates"])
    panels = [*[_localization] * located, _deletion, _agreement]
    subjects = list(dict.fromkeys(row["subject"] for row in record["deletion"]))
    figure = Figure(figsize=(16, 10.5), dpi=100, layout="constrained")
    figure.suptitle("Is it the better map?   Bars are 95 % intervals, bootstrapped over images", fontsize=14)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(1.4, 1))[:, 0]
    for panel, axes in zip(panels, above.subplots(1, len(panels), squeeze=False)[0], strict=True):
        panel(axes, record)
    places = below.subplots(1, len(subjects), squeeze=False)[0]
    for subject, axes in zip(subjects, places, strict=True):
        _curves(axes, [row for row in record["deletion"] if row["subject"] == subject], subject)
    places[0].set_ylabel("margin over the strongest rival  [logit]")
    below.legend(*places[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
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
    axes.set(title='"A rather than B": lights A, darkens B?', xlabel="AUROC of A's pixels against B's")


def _deletion(axes: Axes, record: Row) -> None:
    found = _rows(record, DECISION, "deletion of margin")
    _dots(axes, {key: row["minus"][GRAD_CAM] for key, row in found.items() if GRAD_CAM in row["minus"]})
    axes.axvline(0, color="0.6", linewidth=1)
    axes.set(
        title="Deletion: does the class fall behind its rival?",
        xlabel="area under the margin's curve\nminus that of LayerGradCam  [logit; left is better]",
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
    axes.set_yticks(range(len(methods)), [wrap(method, 17, 3) for method in methods], fontsize=9)
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    axes.grid(axis="x", alpha=0.3)


def _curves(axes: Axes, rows: Sequence[Row], subject: str) -> None:
    for method in COLOURS:
        for row in (row for row in rows if row["method"] == method):
            percent = [100 * share for share in row["share"]]
            axes.plot(percent, row["margin"], color=COLOURS[method], label=method, marker=".")
    axes.axhline(0, color="0.6", linewidth=1)
    axes.set_title(f"Deletion\n{subject}", fontsize=10)
    axes.set_xlabel("pixels deleted, highest first  [%]")
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
    axes.set_yticks(range(len(methods)), [wrap(method, 17, 3) for method in methods], fontsize=9)
    axes.invert_yaxis()
    axes.set(title="Agreement: medians and quartiles", xlabel="correlation with LayerGradCam's signed map")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    axes.grid(axis="x", alpha=0.3)
