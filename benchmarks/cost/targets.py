"""What the library is to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Callable
from statistics import geometric_mean, median
from typing import Any

from benchmarks.common.names import DIFF, GRAD_CAM
from benchmarks.cost.methods import FORWARD
from benchmarks.cost.options import LARGE_BATCH

TARGETS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "peak memory, resnet50, batch 32, late layer, to a bare forward": ("<= 1.05", lambda value: value <= 1.05),
    "peak memory of LayerGradCam there, to ours": (">= 6", lambda value: value >= 6),
    "time, geometric mean over models, late layer, to LayerGradCam": ("<= 0.92", lambda value: value <= 0.92),
    "time, geometric mean over models, late layer, to a bare forward": ("<= 1.08", lambda value: value <= 1.08),
    "ten rivals, to one map": ("<= 1.25", lambda value: value <= 1.25),
    "contrast over 1000 classes, to one rival": ("<= 1.02", lambda value: value <= 1.02),
    "importing captum_diffcam, to importing captum.attr": ("<= 1.05", lambda value: value <= 1.05),
}
"""What the library is to reach."""


def reached(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Every figure of :data:`TARGETS` that this run has measured."""
    late = [row for row in record["time"] if row["layer"] == "late" and row["method"] == DIFF]
    memory = {row["method"]: row["peak_mib"] for row in record["memory"] if _is_figure(row)}
    grown = {(row["grows"], row["to"], row["method"]): row["to_base"]["median"] for row in record["growth"]}
    values = {
        "time, geometric mean over models, late layer, to LayerGradCam": _mean(late, "to_grad_cam"),
        "time, geometric mean over models, late layer, to a bare forward": _mean(late, "to_forward"),
        "ten rivals, to one map": grown["rivals", 10, f"{DIFF}, 10 rivals"],
        "contrast over 1000 classes, to one rival": grown["contrast", 999, "999 rivals"],
        "importing captum_diffcam, to importing captum.attr": record["imports"]["ratio"]["median"],
    }
    if memory:
        to_forward, of_grad_cam = memory[DIFF] / memory[FORWARD], memory[GRAD_CAM] / memory[DIFF]
        values["peak memory, resnet50, batch 32, late layer, to a bare forward"] = to_forward
        values["peak memory of LayerGradCam there, to ours"] = of_grad_cam
    return [
        {"figure": figure, "target": target, "value": values[figure], "reached": holds(values[figure])}
        for figure, (target, holds) in TARGETS.items()
        if figure in values
    ]


def _is_figure(row: dict[str, Any]) -> bool:
    return (row["model"], row["layer"], row["batch"]) == ("resnet50", "late", LARGE_BATCH)


def _mean(rows: list[dict[str, Any]], measure: str) -> float:
    """The geometric mean over models of the median over batches."""
    models = {row["model"] for row in rows}
    return geometric_mean(median(row[measure]["median"] for row in rows if row["model"] == model) for model in models)
