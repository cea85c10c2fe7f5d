"""A figure: where honest and forged models lie, by the two measures of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.audit.tables import audits_of, shows
from captum_diffcam.audit import EXCESS_LIMIT


def draw_audits(path: Path, honest: Sequence[dict[str, Any]], forged: Sequence[dict[str, Any]]) -> None:
    """Each audit a point: the excess of its worst map, and how much its stillest map moves along."""
    figure = Figure((7.5, 5.0), layout="constrained")
    axes = figure.subplots()
    groups = {
        "clean": (honest, "#1b7837", "o"),
        "forged, shows the hoax": ([model for model in forged if shows(model)], "#b2182b", "x"),
        "forged, does not": ([model for model in forged if not shows(model)], "#999999", "+"),
    }
    for label, (models, colour, marker) in groups.items():
        audits = audits_of(models)
        x, y = ([audit[key] for audit in audits] for key in ("excess", "equivariance"))
        axes.scatter(x, y, c=colour, marker=marker, label=label, s=36)
    axes.axvline(EXCESS_LIMIT, color="#666666", linewidth=1, linestyle=":")
    axes.axhline(0, color="#666666", linewidth=1, linestyle=":")
    axes.set_xlabel("excess over the evidence, of the map with the most")
    axes.set_ylabel("how much more the map moves along than it stays,\nof the map with the least")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
