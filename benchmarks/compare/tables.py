"""What is printed: a line for each photograph, then one for each method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.common.reporting import table
from benchmarks.compare.measures import Numbers, Task
from benchmarks.compare.methods import Method

MEASURES = ("pearson", "spearman", "entropy", "milliseconds", "time_ratio")


def medians(method: Method, results: Sequence[Numbers]) -> dict[str, float]:
    """Over the photographs, without those where a number is undefined."""
    values: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    for result in results:
        numbers = result["methods"][method.name]
        for measure in MEASURES:
            value = {**numbers, **numbers["agreement"][method.compared_with]}[measure]
            values[measure] += [value] if math.isfinite(value) else []
    return {measure: median(found) if found else math.nan for measure, found in values.items()}


def print_photographs(results: Sequence[Numbers]) -> None:
    """What the model says of each, and how sure it is."""
    rows: list[list[str | float]] = []
    for result in results:
        target, prediction = result["target"], result["prediction"]
        explained = target["name"] if target == prediction else f"{target['name']} (not {prediction['name']})"
        rivals = ", ".join(f"{rival['name']} {rival['probability']:.2f}" for rival in result["rivals"][:2])
        scores = (target["probability"], result["margin"], result["log_odds"])
        rows.append([Path(result["photograph"]).stem, explained, *scores, rivals])
    header = ["photograph", "class explained", "p", "margin", "log-odds", "strongest rivals"]
    print(f"\n{table(header, rows, limits=(15, 27, 0, 0, 0, 31))}")
    print("margin: logit over that of the strongest rival; log-odds: against the whole contrast set")


def print_methods(task: Task, results: Sequence[Numbers]) -> None:
    """How much each method's maps differ from the plain ones, and what they take."""
    rows: list[list[str | float]] = []
    for method in task.methods:
        middle = medians(method, results)
        name = f"{method.family} {method.reduction or ''}".strip()
        contrast = method.contrast.label if method.contrast else "none"
        rows.append([name, contrast, *(middle[measure] for measure in MEASURES)])
    header = ["method", "contrast set", "Pearson", "Spearman", "entropy", "ms", "time"]
    print(f"\n{table(header, rows, limits=(26, 26, 0, 0, 0, 0, 0))}")
    print("Medians over the photographs. Pearson, Spearman: signed map against that of LayerGradCam, for")
    print("DiffGradCAM++ against that of Grad-CAM++; entropy in nats; time as a multiple of LayerGradCam's")
