"""The conclusion of the comparison in words."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from benchmarks.common.names import DIFF, GRAD_CAM

CLOSE = 0.1
"""A rival is close if its probability is at least this share of the target's."""
_ALIKE = 0.95


def verdict(record: dict[str, Any]) -> list[str]:
    """Return sentences: how far the contrast changes the map, for which photographs it matters, and the time."""
    photographs = record["photographs"]
    ours = [row for row in record["methods"] if row["contrast"] and row["compared_with"] == GRAD_CAM]
    correlations = {row["name"].removeprefix(f"{DIFF} "): row["median"]["pearson"] for row in ours}
    correlations = {name: value for name, value in correlations.items() if value is not None and math.isfinite(value)}
    close = [p for p in photographs if any(_is_close(rival, p["target"]) for rival in p["rivals"])]
    times = median(row["median"]["time_ratio"] for row in ours)
    return [
        *_agreement(correlations),
        f"On {len(close)} of {len(photographs)} photographs, a rival has at least a tenth of the probability of the "
        "explained class; pairwise.png shows the maps against such rivals.",
        f"A map takes {times:.2f} times as long as Grad-CAM's. Correlation does not tell which map is better; "
        "python -m benchmarks faithfulness measures that.",
    ]


def _agreement(correlations: dict[str, float]) -> list[str]:
    if not correlations:
        return ["The maps are constant, so they cannot be compared."]
    least, most = (choose(correlations, key=lambda name: correlations[name]) for choose in (min, max))
    if least == most:
        return [f"With {most!r}, the correlation of the map with Grad-CAM's is {correlations[most]:.2f}."]
    nearly = f"{most!r} hardly changes it" if correlations[most] > _ALIKE else f"{most!r} changes it least"
    return [
        f"The effect of the contrast on Grad-CAM's map depends on the contrast set: {nearly} (correlation "
        f"{correlations[most]:.2f}), {least!r} changes it most ({correlations[least]:.2f})."
    ]


def _is_close(rival: dict[str, Any], target: dict[str, Any]) -> bool:
    return bool(rival["probability"] >= CLOSE * target["probability"])
