"""The figure of the audit: clean and manipulated models by the two measures of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.audit.tables import Row, audits_of, shows_hoax
from captum_diffcam.audit import EXCESS_LIMIT


def draw_audits(path: Path, clean: Sequence[Row], manipulated: Sequence[Row]) -> None:
    """Draw each audit as a point: the highest excess and the lowest equivariance of its maps."""
    figure = Figure((7.5, 5.0), layout="constrained")
    axes = figure.subplots()
    groups = {
        "clean": (clean, "#1b7837", "o"),
        "manipulated, shows the hoax map": ([model for model in manipulated if shows_hoax(model)], "#b2182b", "x"),
        "manipulated, does not show it": ([model for model in manipulated if not shows_hoax(model)], "#999999", "+"),
    }
    for label, (models, colour, marker) in groups.items():
        audits = audits_of(models)
        x, y = ([audit[key] for audit in audits] for key in ("excess", "equivariance"))
        axes.scatter(x, y, c=colour, marker=marker, label=label, s=36)
    axes.axvline(EXCESS_LIMIT, color="#666666", linewidth=1, linestyle=":")
    axes.axhline(0, color="#666666", linewidth=1, linestyle=":")
    axes.set_xlabel("highest excess of the maps over the occlusion maps")
    axes.set_ylabel("lowest equivariance of the maps\n(how much more a map moves with its image than it stays)")
    axes.legend(framealpha=1, edgecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
