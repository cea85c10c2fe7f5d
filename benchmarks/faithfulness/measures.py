"""Measure one chunk of images with every method: a number for each image, by measure and method."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.common.localization import auroc, correlation, energy, pointing, regions, upsample
from benchmarks.common.memoize import memoized
from benchmarks.common.names import FAMILIES, GRAD_CAM, GRAD_CAM_PLUS_PLUS
from benchmarks.faithfulness.chunks import LOCALIZATION, Chunk, Explained, Images
from benchmarks.faithfulness.methods import Explainer, Question, explainers, log_odds_and_margin
from benchmarks.faithfulness.perturbation import (
    area,
    blurred,
    crossing,
    pixel_ranks,
    replacement_curves,
    sensitivity,
    unexplained,
)

Numbers: TypeAlias = dict[str, NDArray[np.float64]]
"""A number for each image, (N,), by "measure" or "measure|method"."""

STEPS, SAMPLES, REPEATS = 8, 8, 3
"""The number of steps of the curves, of squares for infidelity, and of noisy images for sensitivity."""
SIGNED = (*FAMILIES, *FAMILIES.values())
"""Families whose maps are signed, for which agreement is measured."""
CLOSE = 0.1
"""A rival is close if its probability is at least this share of the target's."""


def examine(chunk: Chunk) -> Numbers:
    """Return every measure of the chunk's study. They depend on the chunk alone."""
    explained, images = chunk.subject.load(), chunk.images
    if not len(images.inputs):
        return {"cluster": np.empty(0)}
    seed = 1000 * chunk.subject.stratum + chunk.start
    methods = explainers(explained.model, explained.layer, seed)
    with torch.no_grad():
        logits = explained.model(images.inputs).float()
    ranking = logits.argsort(dim=1, descending=True)
    if chunk.subject.study == LOCALIZATION:
        assert images.labels is not None
        targets, rivals = images.labels.unbind(dim=1)
    else:
        targets, rivals = ranking[:, 0], ranking[:, 1]
    question = Question.of(logits, targets, rivals)
    maps = {method.name: method.maps(images.inputs, question) for method in methods}
    numbers = {
        "cluster": torch.tensor(images.clusters),
        **_correct(images, ranking),
        **_description(logits, ranking, question),
        **_agreement(maps),
    }
    if chunk.subject.study == LOCALIZATION:
        numbers |= _localization(images, maps)
    else:
        heavy = [method for method in methods if method.heavy]
        numbers |= _curves(explained, images.inputs, question, {m.name: maps[m.name] for m in heavy}, seed)
        numbers |= _infidelity_and_sensitivity(explained, images.inputs, question, heavy, maps, seed)
    return {name: values.double().cpu().numpy() for name, values in numbers.items()}


def _correct(images: Images, ranking: Tensor) -> dict[str, Tensor]:
    """Return whether the prediction is one of the image's objects, if these are known."""
    if images.labels is None or (images.labels < 0).any():
        return {}
    return {"right": (ranking[:, :1] == images.labels).any(dim=1)}


def _description(logits: Tensor, ranking: Tensor, question: Question) -> dict[str, Tensor]:
    probabilities = logits.softmax(dim=1)
    of_target = probabilities.gather(1, question.targets[:, None])
    pair = torch.stack([question.targets, question.rivals], dim=1)
    return {
        "confidence": of_target.squeeze(1),
        "close rivals": (probabilities >= CLOSE * of_target).sum(dim=1) - 1,
        "both on top": (ranking[:, :2].sort(dim=1).values == pair.sort(dim=1).values).all(dim=1),
    }


def _agreement(maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the correlation of the signed maps, at the layer's resolution, with those of both plain methods."""
    numbers: dict[str, Tensor] = {}
    for plain in (GRAD_CAM, GRAD_CAM_PLUS_PLUS):
        for name, map_ in maps.items():
            if name.startswith(SIGNED) and name != plain:
                numbers[f"agreement with {plain}|{name}"] = correlation(map_, maps[plain])
    return numbers


def _localization(images: Images, maps: dict[str, Tensor]) -> dict[str, Tensor]:
    assert images.masks is not None
    size = images.masks.shape[2:]
    # Half a cell of the coarsest map, because no map can be finer.
    parts = regions(images.masks, size[0] // min(map_.shape[1] for map_ in maps.values()) // 2)
    numbers: dict[str, Tensor] = {}
    for name, map_ in maps.items():
        # Rectified before upsampling, as the maps of some libraries are.
        positive = upsample(map_.relu(), *size)
        shares = energy(positive, parts)
        numbers |= {
            f"energy on A|{name}": shares[:, 0],
            f"energy on B|{name}": shares[:, 1],
            f"energy on clutter|{name}": shares[:, 2],
            f"pointing|{name}": pointing(positive, parts[:, 0]),
            f"AUROC|{name}": auroc(upsample(map_, *size), images.masks[:, 0], images.masks[:, 1]),
            f"AUROC rectified|{name}": auroc(positive, images.masks[:, 0], images.masks[:, 1]),
        }
    return numbers


def _curves(
    explained: Explained, inputs: Tensor, question: Question, maps: dict[str, Tensor], seed: int
) -> dict[str, Tensor]:
    def score(images: Tensor) -> Tensor:
        return log_odds_and_margin(explained.model(images), question)

    size = inputs.shape[2:]
    ranks = torch.stack([pixel_ranks(upsample(map_, *size), seed) for map_ in maps.values()])
    blank = explained.blank.expand_as(inputs)
    numbers: dict[str, Tensor] = {}
    for kind, before, after in (("deletion", inputs, blank), ("insertion", blurred(inputs), inputs)):
        curves = replacement_curves(score, before, after, ranks, STEPS)
        for name, curve in zip(maps, curves, strict=True):
            odds, margin = area(curve).unbind(dim=-1)
            numbers |= {f"{kind} of log-odds|{name}": odds, f"{kind} of margin|{name}": margin}
            if kind == "deletion":
                numbers[f"deleted until overtaken|{name}"] = crossing(curve[..., 1])
                numbers |= {f"margin at {step}|{name}": curve[:, step, 1] for step in range(STEPS + 1)}
    return numbers


def _infidelity_and_sensitivity(
    explained: Explained,
    inputs: Tensor,
    question: Question,
    methods: list[Explainer],
    maps: dict[str, Tensor],
    seed: int,
) -> dict[str, Tensor]:
    size, logits_of = inputs.shape[2:], memoized(explained.model)
    numbers: dict[str, Tensor] = {}

    def log_odds(logits: Tensor, question: Question) -> Tensor:
        return log_odds_and_margin(logits, question)[:, 0]

    for method in methods:
        map_ = upsample(maps[method.name], *size)
        for against, explained_score in (("own score", method.score), ("log-odds", log_odds)):

            def score(images: Tensor, of: object = explained_score) -> Tensor:
                repeated = question.repeated(len(images) // len(inputs))
                return of(logits_of(images), repeated)  # type: ignore[operator, no-any-return]

            measured = unexplained(score, inputs, map_, explained.blank, SAMPLES, seed)
            numbers[f"infidelity, {against}|{method.name}"] = measured

        def explain(images: Tensor, method: Explainer = method) -> Tensor:
            repeated = question.repeated(len(images) // len(inputs))
            return upsample(method.maps(images, repeated), *size)

        numbers[f"sensitivity|{method.name}"] = sensitivity(explain, inputs, REPEATS, seed)
    return numbers
