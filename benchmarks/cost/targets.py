"""The targets of the library, whether they are reached, and the conclusion in words."""

from __future__ import annotations

from statistics import geometric_mean
from typing import Any, TypeAlias

from benchmarks.common.names import DIFF, GRAD_CAM, LITE0
from benchmarks.cost.jobs import EXPLAIN, FORWARD, LAYERS, MAP, RIVALS
from benchmarks.cost.options import BATCH

Row: TypeAlias = dict[str, Any]

SMALL = "a map of one image, MobileNetV3-small, 160 pixels, time to LayerGradCam"
TARGETS: dict[str, float] = {
    "classify and explain, late layer, time to a bare forward": 1.08,
    "classify and explain, late layer, time to torchcam": 1.0,
    "classify and explain, resnet50, batch 32, memory to a bare forward": 1.15,
    "the same against five rivals, a map each, time to a bare forward": 1.15,
    "classify and explain at three layers, time to torchcam": 1.0,
    "classify and explain at three layers, time to the earliest alone": 1.1,
    "a map, late layer, time to LayerGradCam": 0.92,
    "a map, late layer, time to a bare forward": 1.08,
    SMALL: 1.0,
    "a map, resnet50, batch 32, late layer, memory to a bare forward": 1.15,
    "a map, resnet50, batch 32, late layer, memory to LayerGradCam": 1 / 6,
    "a map, resnet50, batch 32, late layer, allocations to a bare forward": 1.15,
    "a map, resnet50, batch 32, late layer, allocations to LayerGradCam": 1 / 6,
    "a map of a layer's input, EfficientNet-Lite0, time to LayerGradCam": 0.95,
    "a map of a layer's input, EfficientNet-Lite0, memory to a bare forward": 1.15,
    "ten rivals, time to one map": 1.25,
    "contrast over 1000 classes, time to one rival": 1.02,
    "importing captum_diffcam, time to importing captum.attr": 1.05,
}
"""The most that each figure may be."""


def reached(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every figure of :data:`TARGETS` that this run has measured, and whether it is within its limit."""
    values = {**figures_of_times(record["time"]), **figures_of_memory(record["memory"]), **_other_figures(record)}
    return [
        {"figure": figure, "target": f"<= {limit:.3g}", "value": values[figure], "reached": values[figure] <= limit}
        for figure, limit in TARGETS.items()
        if figure in values
    ]


def figures_of_times(rows: list[Row]) -> dict[str, float]:
    """Return the figures that are ratios of times."""
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


def figures_of_single_images(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the ratios for a map of a single image, where the fixed cost of a call weighs most: means over models."""
    ours = [row for row in rows if (row["method"], row["job"], row["layer"], row["batch"]) == (DIFF, MAP, "late", 1)]
    ours = [row for row in ours if row["model"] != LITE0]
    return [
        {"figure": f"a map of a single image, late layer, time to {base}", "value": _mean(ours, measure)}
        for base, measure in (("a bare forward", "to_forward"), ("LayerGradCam", "to_grad_cam"))
        if ours
    ]


def figures_of_memory(rows: list[Row]) -> dict[str, float]:
    """Return the figures that are ratios of peaks of resident memory, and of PyTorch's allocations."""
    cases = {(row["job"], row["model"], row["layer"], row["batch"], row["method"]): row for row in rows}
    late = "a map, resnet50, batch 32, late layer"
    wanted = {
        "classify and explain, resnet50, batch 32, memory to a bare forward": (EXPLAIN, "resnet50", 32, FORWARD),
        f"{late}, memory to a bare forward": (MAP, "resnet50", 32, FORWARD),
        f"{late}, memory to LayerGradCam": (MAP, "resnet50", 32, GRAD_CAM),
        f"{late}, allocations to a bare forward": (MAP, "resnet50", 32, FORWARD),
        f"{late}, allocations to LayerGradCam": (MAP, "resnet50", 32, GRAD_CAM),
        "a map of a layer's input, EfficientNet-Lite0, memory to a bare forward": (MAP, LITE0, BATCH, FORWARD),
    }
    values = {}
    for figure, (job, model, batch, base) in wanted.items():
        measure = "allocated_mib" if "allocations" in figure else "peak_mib"
        ours, other = (cases.get((job, model, "late", batch, method)) for method in (DIFF, base))
        if ours and other:
            values[figure] = ours[measure] / other[measure]
    return values


def _other_figures(record: dict[str, Any]) -> dict[str, float]:
    grown = {(row["grows"], row["to"], row["method"]): row["to_base"]["median"] for row in record["growth"]}
    return {
        SMALL: next(row["to_grad_cam"]["median"] for row in record["small_image"] if row["method"] == DIFF),
        "ten rivals, time to one map": grown["rivals", 10, f"{DIFF}, 10 rivals"],
        "contrast over 1000 classes, time to one rival": grown["contrast", 999, "999 rivals"],
        "importing captum_diffcam, time to importing captum.attr": record["imports"]["ratio"]["median"],
    }


def _mean(rows: list[Row], measure: str) -> float:
    """Return the geometric mean over models, each with its largest batch."""
    return geometric_mean(row[measure]["median"] for row in with_largest_batch(rows))


def with_largest_batch(rows: list[Row]) -> list[Row]:
    """Return the rows of each model that explain the most images at once."""
    largest: dict[str, int] = {}
    for row in rows:
        largest[row["model"]] = max(row["batch"], largest.get(row["model"], 0))
    return [row for row in rows if row["batch"] == largest[row["model"]]]


def verdict(record: dict[str, Any]) -> list[str]:
    """Return the conclusion in sentences."""
    value = {row["figure"]: row["value"] for row in record["targets"]}
    to_forward, to_captum = (value[f"a map, late layer, time to {base}"] for base in ("a bare forward", "LayerGradCam"))
    explained = value["classify and explain, late layer, time to a bare forward"]
    rivals = value["the same against five rivals, a map each, time to a bare forward"]
    single = [row["value"] for row in record["single_images"]]
    sentences = [
        f"A map of a late layer takes {to_forward:.2f} times as long as a forward pass without a map, and "
        f"{to_captum:.2f} times as long as Captum's LayerGradCam. The prediction with its map takes {explained:.2f} "
        f"times as long as a forward pass; with maps against the five strongest rivals, {rivals:.2f} times.",
        f"For a single image, a map takes {single[0]:.2f} times as long as a forward pass and {single[1]:.2f} times as "
        "long as LayerGradCam.",
    ]
    memory = value.get("a map, resnet50, batch 32, late layer, memory to a bare forward")
    if memory is not None:
        share = value["a map, resnet50, batch 32, late layer, memory to LayerGradCam"]
        sentences.append(
            f"A map takes {memory:.2f} times the memory of a forward pass and {share:.2f} times that of LayerGradCam "
            "(ResNet-50, 32 images)."
        )
    missed = [row["figure"] for row in record["targets"] if not row["reached"]]
    sentences.append(f"Not reached: {'; '.join(missed)}." if missed else "All targets are reached.")
    return sentences
