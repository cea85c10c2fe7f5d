"""The reason, isolated: the same drawn classes and the same attack, with objects of growing size.

Our reading, written down before: the contrast withstands where the hoax's cells hold no evidence of any class, and
gives way where the object is everywhere, since the model can then really move what it decides by. If so, the
correlation of the contrastive map with the hoax grows with the object, more on images in which the object lies under
the hoax than on those in which it lies beside it, and with it does that of the forged model's own occlusion. And it
grows with how much of the image a position sees, because cells beside the object then know of it.
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

from benchmarks.attacks.frontier import interval, over_seeds, within_budget
from benchmarks.attacks.methods import GRAD_CAM, OCCLUSION
from benchmarks.common.forging import LOGSUMEXP, MEAN
from benchmarks.common.glyph_classifier import accuracy
from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.occlusion import occlusion_maps
from benchmarks.common.small_nets import Classifier, build, trained
from benchmarks.common.stored import Stored
from captum_diffcam import CamMethod, EquivariantPart, LayerDiffGradCam
from captum_diffcam.attacks import fool, hoax_map
from captum_diffcam.metrics import pearson

SIZES = (12, 20, 30, 42, 54)
"""The longer side of the object, in pixels of 56."""
_CLASSES, _WIDTH = 10, 12
_HOAX_CELLS_ENTROPY = 3.33
_BATCH = 16
_WEIGHTS, _LEARNING_RATE = (0.3, 1.0, 3.0), 1e-3
_PART = 0.05
"""The share of a cell from which on it counts as one with the object."""
METHODS = {
    GRAD_CAM: CamMethod(LayerGradCam),
    LOGSUMEXP: CamMethod(LayerDiffGradCam),
    MEAN: CamMethod(LayerDiffGradCam, reduction=MEAN),
    "equivariant part": CamMethod(
        lambda model, layer: EquivariantPart(LayerDiffGradCam(model, layer), 1), shifts_per_eval=9
    ),
}


@dataclass(frozen=True)
class Case:
    """One classifier and one attack."""

    size: int
    field: str
    """How much of the image a position sees: a name of ``FIELDS``."""
    seed: int

    @property
    def key(self) -> str:
        """Its name, of which there is one."""
        return f"why, size {self.size}, {self.field}, seed {self.seed}"


def planned(seeds: Sequence[int], quick: bool) -> list[Case]:
    """The middle and the ends first; the fields at the size of the other glyphs."""
    if quick:
        return [Case(20, "37 pixels", seeds[0])]
    sizes = [SIZES[i] for i in (1, 4, 0, 2, 3)]
    kinds = [*((size, "37 pixels") for size in sizes), *((20, field) for field in ("one cell", "whole image"))]
    return [Case(size, field, seed) for seed in seeds for size, field in kinds]


def measure(case: Case, stored: Stored, quick: bool) -> dict[str, Any]:
    """Train, attack Grad-CAM of the true class with each weight, and ask what every map shows.

    ``hoax_over`` and ``hoax_beside`` are of the half of the images that has most of its object under the hoax's cells,
    and of the other half.
    """
    side = (max(case.size - 2, 4), case.size)
    count, shown = (256, 8) if quick else (5000, 48)
    model = _honest(case, side, count, stored)
    scenes = draw_scenes(_CLASSES, 2 * shown if quick else 160, case.seed + 20_000, side=side)
    seen = torch.split(draw_scenes(_CLASSES, 64 if quick else 3200, case.seed + 10_000, side=side).images, _BATCH)
    hoax = hoax_map((7, 7), _HOAX_CELLS_ENTROPY)
    with torch.no_grad():
        before = model(scenes.images).argmax(dim=1)
    images, target = scenes.images[:shown], before[:shown]
    masks = interpolate(scenes.masks[:shown].float(), (7, 7), mode="area")[:, 0]
    honest = _maps(model, model.features, images, target)
    under = (masks * (hoax > 0)).sum(dim=(1, 2)) / masks.sum(dim=(1, 2)).clamp(min=1e-6)
    # Ties are parted by order, so that both halves are as large.
    half = under.argsort(descending=True, stable=True)[: len(under) // 2]
    over = torch.zeros(len(under), dtype=torch.bool).index_fill(0, half, True)

    def found(forged: nn.Module, layer: nn.Module, weight: float) -> dict[str, Any]:
        with torch.no_grad():
            after = forged(scenes.images).argmax(dim=1)
        maps = _maps(forged, layer, images, target)
        return {
            "weight": weight,
            "predictions": {"kept": _mean(before == after)},
            "methods": {
                name: {
                    "hoax": _mean(pearson(each, hoax[None])),
                    "hoax_over": _mean(pearson(each[over], hoax[None])),
                    "hoax_beside": _mean(pearson(each[~over], hoax[None])),
                    "clean": _mean(pearson(each, honest[name])),
                    "own_occlusion": _mean(pearson(each, maps[OCCLUSION])),
                    "mask": _mean(pearson(each, masks)),
                }
                for name, each in maps.items()
            },
        }

    points = [found(model, model.features, 0.0)]
    for weight in _WEIGHTS:
        forged = fool(
            model,
            model.features,
            seen,
            hoax,
            weight=weight,
            steps=8 if quick else 250,
            learning_rate=_LEARNING_RATE,
            seed=case.seed,
        )
        points.append(found(forged.model, forged.layer, weight))
    return {
        **{"size": case.size, "receptive_field": case.field, "seed": case.seed},
        "accuracy": accuracy(model, scenes),
        "cells_with_object": _mean((masks > _PART).sum(dim=(1, 2))),
        "points": points,
    }


def _maps(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> dict[str, Tensor]:
    maps = {name: method.maps(model, layer, images, target) for name, method in METHODS.items()}
    return {**maps, OCCLUSION: occlusion_maps(model, images, target, (7, 7))}


def rows_at_equal_damage(cases: Sequence[dict[str, Any]], budget: float) -> list[dict[str, Any]]:
    """What the attacker gets for so large a share of the decisions, as on the frontier: a row for each kind of case.

    Every number is the mean over seeds, with its interval.
    """
    kinds: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        place = within_budget(case["points"], budget, GRAD_CAM)
        if place is not None:
            kinds[(case["size"], case["receptive_field"])].append({**case, **place})
    return [
        {
            "size": size,
            "receptive_field": field,
            "seeds": len(some),
            **{
                key: interval([each[key] for each in some])
                for key in ("accuracy", "cells_with_object", "changed_predictions")
            },
            "methods": over_seeds([each["methods"] for each in some]),
        }
        for (size, field), some in kinds.items()
    ]


def _honest(case: Case, side: tuple[float, float], count: int, stored: Stored) -> Classifier:
    def make() -> dict[str, Tensor]:
        scenes = draw_scenes(_CLASSES, count, case.seed, side=side)
        net = trained(case.field, _CLASSES, scenes.images, scenes.labels[:, 0], case.seed, width=_WIDTH)
        return net.state_dict()

    state = stored.get(f"why {case.field}", make, size=case.size, seed=case.seed, count=count, width=_WIDTH)
    model = build(case.field, _CLASSES, case.seed, _WIDTH)
    model.load_state_dict(state)
    return model


def _mean(values: Tensor) -> float:
    return values.double().mean().item()
