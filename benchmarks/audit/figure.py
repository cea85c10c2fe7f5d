"""The figure of the audit: what it estimates, against exhaustive occlusion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.audit.tables import Row

_COLOURS = {
    "supported": ("#1b7837", "o"),
    "undecided": ("#999999", "."),
    "contradicted": ("#b2182b", "x"),
}


def draw_audits(path: Path, rows: Sequence[Row]) -> None:
    """Draw each verdict as a point: the estimated agreement, and that with exhaustive occlusion."""
    figure = Figure((7.5, 5.0), layout="constrained")
    axes = figure.subplots()
    for verdict, (colour, marker) in _COLOURS.items():
        its = [row for row in rows if row["verdict"] == verdict and row.get("exhaustive") is not None]
        x, y = ([row[key] for row in its] for key in ("exhaustive", "agreement"))
        axes.scatter(x, y, c=colour, marker=marker, label=verdict, s=28)
    axes.axvline(0.4, color="#666666", linewidth=1, linestyle=":")
    axes.axvline(0.2, color="#666666", linewidth=1, linestyle=":")
    axes.set_xlabel("agreement with exhaustive occlusion, corrected for noise")
    axes.set_ylabel("agreement as the audit estimates it")
    axes.legend(framealpha=1, edgecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
