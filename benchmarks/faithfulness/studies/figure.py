"""The figure of these studies: the main measure of some methods on every classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common.contrast_sets import EVERY_OTHER
from benchmarks.common.names import DIFF, GRAD_CAM, LITE0, MOBILENET
from benchmarks.faithfulness.methods import RANDOM
from benchmarks.faithfulness.options import CLASSES, GRIDPG, NATS, PARAMETERS
from benchmarks.faithfulness.studies.methods import DEFAULT, FINER, OCCLUSION, PLUS_PLUS, TOP
from benchmarks.faithfulness.studies.report import SLOPES, Row, headline

PANELS = {
    GRIDPG: ("Is the class found in a mosaic?", "share of the positive map in the tile\n[right is better]"),
    CLASSES: ("Does the map depend on the class?", "correlation with the second class's map\n[left is better]"),
    PARAMETERS: (
        "Does it depend on the parameters?",
        "correlation after the head was drawn anew\n[near zero is better]",
    ),
    NATS: ("Are its numbers log-odds?", "fall of the score per unit of the map\n[1, in the grey band, is best]"),
}
"""Title and axis of each study that is drawn."""
SHOWN = {
    "Grad-CAM": GRAD_CAM,
    "default (= probability)": DEFAULT,
    "mean of all others": f"{DIFF} mean, {EVERY_OTHER.label}",
    "five rivals": TOP,
    "DiffGradCAM++": PLUS_PLUS,
    "Finer-CAM": FINER["pytorch-grad-cam"],
    "LayerCAM": "LayerCAM pytorch-grad-cam",
    "occlusion": OCCLUSION,
    "random": RANDOM,
}
"""The methods of the figure, by their labels."""
_OURS, _GRAD_CAM, _OTHER = "#1b6ca8", "#d95f02", "0.45"
_MARKERS = {MOBILENET: "o", LITE0: "s", "VGG-like": "^", "ViT": "D"}
"""By the first word of a subject's name, which is its classifier."""


def draw_studies(path: Path, records: Mapping[str, Sequence[Row]]) -> bool:
    """Draw a panel for each of at most four studies, and return whether there is any."""
    shown = {study: headline(study, rows) for study, rows in records.items() if study in PANELS}
    if not shown:
        return False
    lines = (len(shown) + 1) // 2
    figure = Figure(figsize=(8, 0.9 + 3.4 * lines), dpi=160, layout="constrained")
    panels = figure.subplots(lines, min(len(shown), 2), squeeze=False).ravel()
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes, (study, rows) in zip(panels, shown.items(), strict=False):
        _draw(axes, study, rows)
    classifiers = dict.fromkeys(_classifier(row) for rows in shown.values() for row in rows)
    for name in classifiers:
        panels[0].plot([], [], _MARKERS.get(name, "v"), color="0.2", linestyle="", label=name)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(path)
    return True


def _classifier(row: Row) -> str:
    return str(row["subject"]).partition(", ")[0]


def _draw(axes: Axes, study: str, rows: Sequence[Row]) -> None:
    """Draw a line of markers with intervals for each method."""
    values = {(row["method"], row["subject"]): row for row in rows if row["value"] is not None}
    subjects = list(dict.fromkeys(subject for _, subject in values))
    labels = [label for label, method in SHOWN.items() if any((method, subject) in values for subject in subjects)]
    for place, label in enumerate(labels):
        colour = _GRAD_CAM if label == "Grad-CAM" else _OURS if SHOWN[label].startswith(DIFF) else _OTHER
        for i, subject in enumerate(subjects):
            row = values.get((SHOWN[label], subject))
            if row is not None:
                y = place + 0.6 * ((i + 0.5) / len(subjects) - 0.5)
                axes.plot([row["lower"], row["upper"]], [y, y], color=colour, linewidth=1)
                axes.plot([row["value"]], [y], _MARKERS.get(_classifier(row), "v"), color=colour, markersize=4)
    title, scale = PANELS[study]
    if study == NATS:
        axes.axvspan(*SLOPES, color="0.9")
    axes.set_yticks(range(len(labels)), labels, fontsize=9)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=9)
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(scale, fontsize=9)
