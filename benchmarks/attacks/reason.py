"""The reason: the same drawn classes and the same attack, with objects of growing size.

The hypothesis was written down before the runs. The contrast withstands where the cells of the hoax map hold no
evidence of any class. It fails where the object is everywhere, because the model can then really move its evidence. If
this is true, the correlation of the contrastive map with the hoax map grows with the object. It grows more on images
whose object lies under the hoax than on images whose object lies beside it, and the correlation of the manipulated
model's own occlusion map grows too. The correlation also grows with the receptive field of a position, because cells
beside the object then contain evidence of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.attacks.frontier import best_within_budget, interval, over_seeds
from benchmarks.attacks.measures import mean
from benchmarks.attacks.methods import OCCLUSION
from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.manipulated_models import LOGSUMEXP, MEAN, PLAIN
from benchmarks.common.occlusion import occlusion_maps
from benchmarks.common.small_nets import Classifier, accuracy, build, trained
from benchmarks.common.stored import Stored
from captum_diffcam import CamMethod, EquivariantPart, LayerDiffGradCam
from captum_diffcam.attacks import fool, hoax_map
from captum_diffcam.metrics import pearson

SIZES = (12, 20, 30, 42, 54)
"""The longer side of the object, in pixels of 56."""
USUAL_FIELD, OTHER_FIELDS = "37 pixels", ("one cell", "whole image")
"""Receptive fields, see ``RECEPTIVE_FIELDS``."""
FIELD_SIZE = 20
"""The size of the objects for other receptive fields."""
_CLASSES, _WIDTH = 10, 12
_GRID = (7, 7)
_HOAX_ENTROPY = 3.33
_BATCH = 16
_WEIGHTS, _LEARNING_RATE = (0.3, 1.0, 3.0), 1e-3
_COVERED = 0.05
"""The share of a cell from which it counts as one with the object."""
EQUIVARIANT = "equivariant part"
METHODS = {
    PLAIN: CamMethod(LayerGradCam),
    LOGSUMEXP: CamMethod(LayerDiffGradCam),
    MEAN: CamMethod(LayerDiffGradCam, reduction=MEAN),
    EQUIVARIANT: CamMethod(lambda model, layer: EquivariantPart(LayerDiffGradCam(model, layer), 1), shifts_per_eval=9),
}


@dataclass(frozen=True)
class Case:
    """One classifier and one attack."""

    size: int
    receptive_field: str
    seed: int

    @property
    def key(self) -> str:
        """A unique name."""
        return f"reason, size {self.size}, {self.receptive_field}, seed {self.seed}"


def planned(seeds: Sequence[int], quick: bool) -> list[Case]:
    """Return every case: the middle and the ends of the sizes first, then the other receptive fields."""
    if quick:
        return [Case(FIELD_SIZE, USUAL_FIELD, seeds[0])]
    sizes = [SIZES[i] for i in (1, 4, 0, 2, 3)]
    kinds = [*((size, USUAL_FIELD) for size in sizes), *((FIELD_SIZE, field) for field in OTHER_FIELDS)]
    return [Case(size, field, seed) for seed in seeds for size, field in kinds]


def measure(case: Case, stored: Stored, quick: bool) -> dict[str, Any]:
    """Train a classifier, attack Grad-CAM of the true class with each weight, and measure every map.

    ``hoax_over`` and ``hoax_beside`` are for the half of the images with most of the object under the hoax map's
    cells, and for the other half.
    """
    side = (max(case.size - 2, 4), case.size)
    count, shown = (256, 8) if quick else (5000, 48)
    clean = _clean_model(case, side, count, stored)
    scenes = draw_scenes(_CLASSES, 2 * shown if quick else 160, case.seed + 20_000, side=side)
    batches = torch.split(draw_scenes(_CLASSES, 64 if quick else 3200, case.seed + 10_000, side=side).images, _BATCH)
    hoax = hoax_map(_GRID, _HOAX_ENTROPY)
    with torch.no_grad():
        before = clean(scenes.images).argmax(dim=1)
    images, target = scenes.images[:shown], before[:shown]
    masks = interpolate(scenes.masks[:shown].float(), _GRID, mode="area")[:, 0]
    clean_maps = _maps(clean, clean.features, images, target)
    under = (masks * (hoax > 0)).sum(dim=(1, 2)) / masks.sum(dim=(1, 2)).clamp(min=1e-6)
    # The order decides ties, so that both halves have the same size.
    half = under.argsort(descending=True, stable=True)[: len(under) // 2]
    over = torch.zeros(len(under), dtype=torch.bool).index_fill(0, half, True)

    def point(model: nn.Module, layer: nn.Module, weight: float) -> dict[str, Any]:
        with torch.no_grad():
            after = model(scenes.images).argmax(dim=1)
        maps = _maps(model, layer, images, target)
        return {
            "weight": weight,
            "predictions": {"kept": mean(before == after)},
            "methods": {
                name: {
                    "hoax": mean(pearson(method_maps, hoax[None])),
                    "hoax_over": mean(pearson(method_maps[over], hoax[None])),
                    "hoax_beside": mean(pearson(method_maps[~over], hoax[None])),
                    "clean": mean(pearson(method_maps, clean_maps[name])),
                    "own_occlusion": mean(pearson(method_maps, maps[OCCLUSION])),
                    "mask": mean(pearson(method_maps, masks)),
                }
                for name, method_maps in maps.items()
            },
        }

    points = [point(clean, clean.features, 0.0)]
    for weight in _WEIGHTS:
        manipulated = fool(
            clean,
            clean.features,
            batches,
            hoax,
            weight=weight,
            steps=8 if quick else 250,
            learning_rate=_LEARNING_RATE,
            seed=case.seed,
        )
        points.append(point(manipulated.model, manipulated.layer, weight))
    return {
        **{"size": case.size, "receptive_field": case.receptive_field, "seed": case.seed},
        "accuracy": accuracy(clean, scenes),
        "cells_with_object": mean((masks > _COVERED).sum(dim=(1, 2))),
        "points": points,
    }


def _maps(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> dict[str, Tensor]:
    maps = {name: method.maps(model, layer, images, target) for name, method in METHODS.items()}
    return {**maps, OCCLUSION: occlusion_maps(model, images, target, _GRID)}


def rows_within_budget(cases: Sequence[dict[str, Any]], budget: float) -> list[dict[str, Any]]:
    """Return a row for each size and receptive field: the best attack within the budget, means over seeds."""
    kinds: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        place = best_within_budget(case["points"], budget, PLAIN)
        if place is not None:
            kinds[case["size"], case["receptive_field"]].append({**case, **place})
    measures = ("accuracy", "cells_with_object", "changed_predictions")
    return [
        {
            "size": size,
            "receptive_field": field,
            "seeds": len(rows),
            **{key: interval([row[key] for row in rows]) for key in measures},
            "methods": over_seeds([row["methods"] for row in rows]),
        }
        for (size, field), rows in kinds.items()
    ]


def _clean_model(case: Case, side: tuple[float, float], count: int, stored: Stored) -> Classifier:
    def make() -> dict[str, Tensor]:
        scenes = draw_scenes(_CLASSES, count, case.seed, side=side)
        net = trained(case.receptive_field, _CLASSES, scenes.images, scenes.labels[:, 0], case.seed, width=_WIDTH)
        return net.state_dict()

    state = stored.get(
        f"reason {case.receptive_field}", make, size=case.size, seed=case.seed, count=count, width=_WIDTH
    )
    model = build(case.receptive_field, _CLASSES, case.seed, _WIDTH)
    model.load_state_dict(state)
    return model
