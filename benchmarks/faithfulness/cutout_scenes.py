"""Scenes of two real objects over a photograph with known masks, for a classifier of 1000 classes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor
from torchvision.transforms.functional import normalize

from benchmarks.common.clean_models import CONFIDENT
from benchmarks.common.cutouts import Material, alone, compose
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import Classifier, blank_input
from benchmarks.common.options import UsageError
from benchmarks.faithfulness.chunks import LOCALIZATION, Explained, Images, Subject
from benchmarks.faithfulness.explained_models import as_output

_CHUNK, _BATCH, _ATTEMPTS = 20, 32, 100
_SIDE, _VISIBLE, _TOP = (0.35, 0.6), 0.03, 5
"""The range of the longer side of an object; the least visible share of the image for each object; both objects must be
among this number of top classes."""


def cutout_subject(classifier: Classifier, material: Material, count: int, seed: int) -> Subject:
    """Return the subject "A rather than B" on scenes of two cut-outs that the classifier recognises.

    The label of a cut-out is its predicted class alone on grey; cut-outs with a probability below 0.3 are left out.
    Scenes are drawn until two objects with different labels are both among the five top classes. The choice of scenes
    does not depend on maps.
    """
    device = next(classifier.model.parameters()).device

    def prepared(images: Tensor) -> Tensor:
        normal: Tensor = normalize(images, classifier.preprocess.mean, classifier.preprocess.std)
        return normal.to(device)

    @cache
    def recognised() -> tuple[Material, Tensor]:
        parts = []
        with torch.no_grad():
            for files in (material.cutouts[i : i + _BATCH] for i in range(0, len(material.cutouts), _BATCH)):
                images = torch.stack([alone(file) for file in files])
                parts.append(classifier.model(prepared(images)).softmax(dim=1).max(dim=1))
        probability = torch.cat([part.values for part in parts]).cpu()
        labels = torch.cat([part.indices for part in parts]).cpu()
        chosen = (probability >= CONFIDENT).nonzero()[:, 0].tolist()
        return replace(material, cutouts=tuple(material.cutouts[i] for i in chosen)), labels[chosen]

    def scenes(start: int, stop: int) -> Images:
        known, labels = recognised()
        if len(set(labels.tolist())) < 2:
            raise UsageError(
                f"--cutouts must have 2 objects of different classes that the model recognises, got {len(labels)}"
            )
        chosen: list[tuple[Tensor, Tensor, Tensor]] = []
        first = 10_000_000 * seed + 10_000 * start
        for attempt in range(first, first + _ATTEMPTS):
            drawn = compose(known, _BATCH, attempt, objects=(2, 2), side=_SIDE)
            pairs, inputs = labels[drawn.objects], prepared(drawn.images)
            with torch.no_grad():
                likeliest = classifier.model(inputs).topk(_TOP, dim=1).indices.cpu()
            both_on_top = (likeliest[:, None] == pairs[:, :, None]).any(dim=2).all(dim=1)
            visible = (drawn.masks.float().mean(dim=(2, 3)) >= _VISIBLE).all(dim=1)
            good = both_on_top & visible & (pairs[:, 0] != pairs[:, 1])
            chosen += zip(inputs[good.to(device)], pairs[good], drawn.masks[good], strict=True)
            if len(chosen) >= stop - start:
                break
        else:
            raise UsageError(
                f"--cutouts must give {stop - start} scenes with two recognised objects, got {len(chosen)} in "
                f"{_ATTEMPTS * _BATCH} attempts"
            )
        images, scene_labels, masks = (
            torch.stack(part).to(device) for part in zip(*chosen[: stop - start], strict=True)
        )
        return Images(images, list(range(start, stop)), scene_labels, masks)

    layer = as_output(classifier.model, choose_layer(classifier.model, blank_input(classifier.preprocess).to(device)))
    explained = Explained(classifier.model, layer, torch.zeros(3, 1, 1, device=device))
    return Subject(LOCALIZATION, f"{classifier.name}, cut-outs", 0, count, _CHUNK, lambda: explained, scenes)
