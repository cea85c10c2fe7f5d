"""The tables of the comparison: of photographs, which is written, and of methods, which is printed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.common.reporting import table, write_csv
from benchmarks.compare.measures import Numbers, Task
from benchmarks.compare.methods import Method

MEASURES = ("pearson", "spearman", "entropy", "milliseconds", "time_ratio")


def medians(method: Method, results: Sequence[Numbers]) -> dict[str, float]:
    """Return medians over the photographs, without undefined numbers."""
    values: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    for result in results:
        numbers = result["methods"][method.name]
        for measure in MEASURES:
            value = {**numbers, **numbers["agreement"][method.compared_with]}[measure]
            values[measure] += [value] if math.isfinite(value) else []
    return {measure: median(numbers) if numbers else math.nan for measure, numbers in values.items()}


def write_photographs(path: Path, results: Sequence[Numbers]) -> None:
    """Write prediction, probability, margins and rivals of each photograph."""
    rows = []
    for result in results:
        target, rivals = result["target"], result["rivals"]
        scores = (f"{number:.3f}" for number in (target["probability"], result["margin"], result["log_odds"]))
        strongest = "; ".join(f"{rival['name']} {rival['probability']:.3f}" for rival in rivals)
        rows.append([result["photograph"], result["prediction"]["name"], target["name"], *scores, strongest])
    header = ("photograph", "prediction", "class explained", "probability", "margin", "log-odds", "strongest rivals")
    write_csv(path, header, rows)


def methods_table(task: Task, results: Sequence[Numbers]) -> str:
    """Return as text how far each method's maps differ from the plain ones, and their time."""
    rows: list[list[str | float]] = []
    for method in task.methods:
        middle = medians(method, results)
        name = f"{method.family} {method.reduction or ''}".strip()
        contrast = method.contrast.label if method.contrast else "none"
        rows.append([name, contrast, *(middle[measure] for measure in MEASURES)])
    header = ["method", "contrast set", "Pearson", "Spearman", "entropy", "ms", "time"]
    return "\n".join(
        [
            table(header, rows, limits=(26, 26, 0, 0, 0, 0, 0)),
            "Medians over photographs. Pearson, Spearman: correlation of the signed map with LayerGradCam's, for",
            "DiffGradCAM++ with Grad-CAM++'s; entropy in nats; time as a multiple of LayerGradCam's",
        ]
    )
