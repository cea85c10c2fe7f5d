"""What the comparison says, in words."""

from __future__ import annotations

import math
from statistics import median
from typing import Any

from benchmarks.common.names import DIFF, GRAD_CAM

CLOSE = 0.1
"""Of the probability of the class that is explained: a rival that has as much is close."""
_ALIKE = 0.95


def verdict(record: dict[str, Any]) -> list[str]:
    """How far the question moves the map, for which photographs that matters, and what it takes."""
    photographs = record["photographs"]
    ours = [row for row in record["methods"] if row["contrast"] and row["compared_with"] == GRAD_CAM]
    moved = {row["name"].removeprefix(f"{DIFF} "): row["median"]["pearson"] for row in ours}
    moved = {name: value for name, value in moved.items() if value is not None and math.isfinite(value)}
    close = [p for p in photographs if any(_is_close(rival, p["target"]) for rival in p["rivals"])]
    times = median(row["median"]["time_ratio"] for row in ours)
    return [
        *_agreement(moved),
        f"On {len(close)} of {len(photographs)} photographs a rival has at least a tenth of the probability of the "
        "class explained: there it is worth asking why this class rather than that one (pairwise.png).",
        f"A map takes {times:.2f} times as long as Grad-CAM's. Correlation does not say which map is right; python -m "
        "benchmarks faithfulness asks that.",
    ]


def _agreement(moved: dict[str, float]) -> list[str]:
    if not moved:
        return ["The maps do not vary, so they cannot be compared."]
    least, most = min(moved, key=lambda name: moved[name]), max(moved, key=lambda name: moved[name])
    if least == most:
        return [f"With {most!r} the map correlates with Grad-CAM's at {moved[most]:.2f} (1 is the same map)."]
    alike = f"{most!r} leaves it much as it is" if moved[most] > _ALIKE else f"{most!r} changes it least"
    return [
        f"By how much the contrast changes Grad-CAM's map depends on the contrast: {alike} (correlation "
        f"{moved[most]:.2f}), {least!r} changes it most ({moved[least]:.2f})."
    ]


def _is_close(rival: dict[str, Any], target: dict[str, Any]) -> bool:
    return bool(rival["probability"] >= CLOSE * target["probability"])
