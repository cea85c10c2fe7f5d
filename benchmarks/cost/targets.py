"""What the library is to reach, and whether it does."""

from __future__ import annotations

from statistics import geometric_mean
from typing import Any, TypeAlias

from benchmarks.common.names import DIFF, GRAD_CAM, LITE0
from benchmarks.cost.jobs import EXPLAIN, FORWARD, LAYERS, MAP, RIVALS
from benchmarks.cost.options import BATCH

Row: TypeAlias = dict[str, Any]

TARGETS: dict[str, float] = {
    "classify and explain, late layer, time to a bare forward": 1.08,
    "classify and explain, late layer, time to torchcam": 1.0,
    "classify and explain, resnet50, batch 32, memory to a bare forward": 1.05,
    "the same against five rivals, a map each, time to a bare forward": 1.15,
    "classify and explain at three layers, time to torchcam": 1.0,
    "classify and explain at three layers, time to the earliest alone": 1.1,
    "a map, late layer, time to LayerGradCam": 0.92,
    "a map, late layer, time to a bare forward": 1.08,
    "a map, resnet50, batch 32, late layer, memory to a bare forward": 1.05,
    "a map, resnet50, batch 32, late layer, memory to LayerGradCam": 1 / 6,
    "a map of a layer's input, EfficientNet-Lite0, time to LayerGradCam": 0.95,
    "a map of a layer's input, EfficientNet-Lite0, memory to a bare forward": 1.05,
    "ten rivals, time to one map": 1.25,
    "contrast over 1000 classes, time to one rival": 1.02,
    "importing captum_diffcam, time to importing captum.attr": 1.05,
}
"""What the library is to reach, at most."""


def reached(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Every figure of :data:`TARGETS` that this run has measured."""
    values = {**of_times(record["time"]), **of_memory(record["memory"]), **of_growth(record)}
    return [
        {"figure": figure, "target": f"<= {limit:.3g}", "value": values[figure], "reached": values[figure] <= limit}
        for figure, limit in TARGETS.items()
        if figure in values
    ]


def of_times(rows: list[Row]) -> dict[str, float]:
    """The figures that are times, as ratios."""
    ours = [row for row in rows if row["method"] == DIFF and row["model"] != LITE0 and row["layer"] in ("late", "all")]
    by_job = {job: [row for row in ours if row["job"] == job] for job in (MAP, EXPLAIN, RIVALS, LAYERS)}
    wanted = {
        "classify and explain, late layer, time to a bare forward": (EXPLAIN, "to_forward"),
        "classify and explain, late layer, time to torchcam": (EXPLAIN, "to_torchcam"),
        "the same against five rivals, a map each, time to a bare forward": (RIVALS, "to_forward"),
        "classify and explain at three layers, time to torchcam": (LAYERS, "to_torchcam"),
        "classify and explain at three layers, time to the earliest alone": (LAYERS, "to_earliest"),
        "a map, late layer, time to LayerGradCam": (MAP, "to_grad_cam"),
        "a map, late layer, time to a bare forward": (MAP, "to_forward"),
    }
    values = {
        figure: _mean(by_job[job], measure)
        for figure, (job, measure) in wanted.items()
        if by_job[job] and all(measure in row for row in by_job[job])
    }
    lite0 = [row for row in rows if row["model"] == LITE0 and row["method"] == DIFF]
    if lite0:
        values["a map of a layer's input, EfficientNet-Lite0, time to LayerGradCam"] = _mean(lite0, "to_grad_cam")
    return values


def of_single_images(rows: list[Row]) -> list[dict[str, Any]]:
    """What a map of one image takes, where what a call costs by itself weighs most: geometric means over models."""
    ours = [row for row in rows if (row["method"], row["job"], row["layer"], row["batch"]) == (DIFF, MAP, "late", 1)]
    ours = [row for row in ours if row["model"] != LITE0]
    return [
        {"figure": f"a map of a single image, late layer, time to {base}", "value": _mean(ours, measure)}
        for base, measure in (("a bare forward", "to_forward"), ("LayerGradCam", "to_grad_cam"))
        if ours
    ]


def of_memory(rows: list[Row]) -> dict[str, float]:
    """The figures that are peaks of memory, as ratios."""
    peaks = {(row["job"], row["model"], row["layer"], row["batch"], row["method"]): row["peak_mib"] for row in rows}
    wanted = {
        "classify and explain, resnet50, batch 32, memory to a bare forward": (EXPLAIN, "resnet50", 32, FORWARD),
        "a map, resnet50, batch 32, late layer, memory to a bare forward": (MAP, "resnet50", 32, FORWARD),
        "a map, resnet50, batch 32, late layer, memory to LayerGradCam": (MAP, "resnet50", 32, GRAD_CAM),
        "a map of a layer's input, EfficientNet-Lite0, memory to a bare forward": (MAP, LITE0, BATCH, FORWARD),
    }
    return {
        figure: peaks[job, model, "late", batch, DIFF] / peaks[job, model, "late", batch, base]
        for figure, (job, model, batch, base) in wanted.items()
        if (job, model, "late", batch, DIFF) in peaks
    }


def of_growth(record: dict[str, Any]) -> dict[str, float]:
    """What is measured beside maps of many models."""
    grown = {(row["grows"], row["to"], row["method"]): row["to_base"]["median"] for row in record["growth"]}
    return {
        "ten rivals, time to one map": grown["rivals", 10, f"{DIFF}, 10 rivals"],
        "contrast over 1000 classes, time to one rival": grown["contrast", 999, "999 rivals"],
        "importing captum_diffcam, time to importing captum.attr": record["imports"]["ratio"]["median"],
    }


def _mean(rows: list[Row], measure: str) -> float:
    """The geometric mean over models, each with its largest batch."""
    return geometric_mean(row[measure]["median"] for row in with_largest_batch(rows))


def with_largest_batch(rows: list[Row]) -> list[Row]:
    """Of each model those that explain the most images at once."""
    largest: dict[str, int] = {}
    for row in rows:
        largest[row["model"]] = max(row["batch"], largest.get(row["model"], 0))
    return [row for row in rows if row["batch"] == largest[row["model"]]]
