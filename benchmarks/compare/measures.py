"""Explain one photograph by every method: its maps, and every number about them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

import torch
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.common.contrast_sets import ContrastSet
from benchmarks.common.localization import correlation
from benchmarks.common.models import Classifier
from benchmarks.common.names import GRAD_CAM, GRAD_CAM_PLUS_PLUS
from benchmarks.common.options import SkippedError
from benchmarks.compare.methods import Method
from captum_diffcam import LayerDiffGradCam
from captum_diffcam.layers import SpatialLayer
from captum_diffcam.metrics import cam_entropy

Numbers: TypeAlias = dict[str, Any]
"""Values that JSON can hold, by name."""

ROUNDS = 5
RIVALS = 5


@dataclass(frozen=True)
class Task:
    """How to explain every photograph. Without a target its prediction is explained."""

    classifier: Classifier
    layer: SpatialLayer
    methods: Sequence[Method]
    target: int | None
    contrast: ContrastSet


@dataclass(frozen=True)
class Explanation:
    """The photograph as the model sees it, signed maps by method and by rival, and the numbers for the record."""

    photograph: Tensor
    maps: dict[str, Tensor]
    pairwise: Tensor
    numbers: Numbers


def explain(task: Task, name: str, inputs: Tensor) -> Explanation:
    """Explain one photograph. Shape: inputs (1, 3, H, W).

    Raises:
        SkippedError: the prediction is in the contrast set.
    """
    model, classes = task.classifier.model, task.classifier.classes
    with torch.no_grad():
        logits = model(inputs)[0].float()
    probabilities = logits.softmax(dim=0)
    prediction = int(logits.argmax())
    target = prediction if task.target is None else task.target
    if task.contrast.names(target):
        raise SkippedError(f"the prediction {classes[target]!r} is in the contrast set")
    ranked = task.contrast.ranked(logits, target)

    def named(index: int) -> Numbers:
        return {"class": index, "name": classes[index], "probability": float(probabilities[index])}

    maps = {method.name: method.maps(inputs, target)[0].cpu() for method in task.methods}
    # A map against each strong rival, from a single forward pass.
    pairwise = LayerDiffGradCam(model, task.layer).attribute_rivals(inputs, target, ranked[:RIVALS])
    rival_maps = pairwise.maps[0, :, 0].cpu()
    rivals, weights = pairwise.rivals[0].tolist(), pairwise.weights[0].tolist()
    seconds = _interleaved_times(task.methods, inputs, target)
    plain = {family: maps[family] for family in (GRAD_CAM, GRAD_CAM_PLUS_PLUS)}
    numbers = {
        "photograph": name,
        "prediction": named(prediction),
        "target": named(target),
        "margin": float(logits[target] - logits[rivals[0]]),
        "log_odds": float(logits[target] - logits[ranked].logsumexp(dim=0)),
        "rivals": [
            {
                **named(rival),
                "margin": float(logits[target] - logits[rival]),
                "weight": weight,
                "agreement": {GRAD_CAM: _agreement(map_, maps[GRAD_CAM])},
            }
            for rival, weight, map_ in zip(rivals, weights, rival_maps, strict=True)
        ],
        "methods": {
            method: {
                "agreement": {family: _agreement(map_, other) for family, other in plain.items()},
                "entropy": abs(float(cam_entropy(map_[None]))),  # that of an empty map is minus zero
                "milliseconds": 1000 * seconds[method],
                "time_ratio": seconds[method] / seconds[GRAD_CAM],
            }
            for method, map_ in maps.items()
        },
    }
    return Explanation(task.classifier.as_seen(inputs[0]), maps, rival_maps, numbers)


def _agreement(one: Tensor, other: Tensor) -> dict[str, float]:
    """Return the correlations of two signed maps over positions; NaN if one of them is constant."""
    pearson = float(correlation(one[None], other[None]))
    if math.isnan(pearson):
        return {"pearson": math.nan, "spearman": math.nan}
    return {"pearson": pearson, "spearman": float(spearmanr(one.flatten(), other.flatten()).statistic)}


def _interleaved_times(methods: Sequence[Method], inputs: Tensor, target: int) -> dict[str, float]:
    """Return the median seconds of each method. Methods take turns, so that a busy machine slows all of them alike."""
    seconds: dict[str, list[float]] = {method.name: [] for method in methods}
    for _ in range(ROUNDS):
        for method in methods:
            start = perf_counter()
            method.maps(inputs, target)
            if inputs.device.type != "cpu":
                getattr(torch, inputs.device.type).synchronize()
            seconds[method.name].append(perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}
