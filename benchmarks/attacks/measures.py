"""Make and measure one point: a clean model, manipulated once, its predictions and all of its maps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.attacks.methods import (
    EQUIVARIANT_9,
    EQUIVARIANT_HALF_CELLS,
    EQUIVARIANT_MIRRORED,
    OCCLUSION,
    measured_methods,
)
from benchmarks.attacks.plan import NO_ATTACK, Point
from benchmarks.common.clean_models import CONFIDENT, CleanModel, Setting, TrainedPart
from benchmarks.common.manipulated_models import EQUIVARIANT, LOGSUMEXP, PLAIN, Reference, manipulate, reference_for
from benchmarks.common.staged import Staged
from benchmarks.common.stored import Stored
from captum_diffcam.metrics import pearson

WHOLE_MAP = {
    **{part: name for name, part in EQUIVARIANT.items()},
    **dict.fromkeys((EQUIVARIANT_9, EQUIVARIANT_HALF_CELLS, EQUIVARIANT_MIRRORED), LOGSUMEXP),
}
"""The method of which each equivariant part is a part."""


class Laboratory:
    """Makes and measures points. It keeps the last clean models, because successive points share them."""

    def __init__(self, settings: Mapping[str, Setting], stored: Stored, quick: bool, device: torch.device) -> None:
        self.settings, self.stored, self.quick, self.device = settings, stored, quick, device
        self._reference = lru_cache(maxsize=3)(self._make_reference)

    def measure(self, point: Point) -> dict[str, Any]:
        """Return everything that is reported of a point."""
        reference = self._reference(point.setting, point.seed, point.trained)
        clean, hoax = reference.clean, reference.hoax
        model, maps = clean.model, reference.maps
        if point.attack != NO_ATTACK:
            setting = self.settings[point.setting]
            model, layer = manipulate(
                setting, point.seed, point.trained, point.attack, point.weight, clean, hoax, self.stored, self.quick
            )
            maps = _maps(clean, model, layer, reference.target)
        return {
            **point.fields(),
            "predictions": compare_predictions(clean, model),
            "methods": compare_maps(maps, reference.maps, hoax, clean.masks),
        }

    def _make_reference(self, name: str, seed: int, trained_part: TrainedPart) -> Reference:
        clean = self.settings[name].make(seed, trained_part, self.quick).to(self.device)
        return reference_for(clean, lambda target: _maps(clean, clean.model, clean.layer, target))


def _maps(clean: CleanModel, model: Staged, layer: nn.Module, target: Tensor) -> dict[str, Tensor]:
    return {
        name: maps_of(model, layer, clean.images, target).cpu() for name, maps_of in measured_methods(clean).items()
    }


def compare_predictions(clean: CleanModel, manipulated: Staged) -> dict[str, float]:
    """Return how many predictions the manipulated model keeps, and the divergence of its probabilities.

    ``confident``: the number of confident predictions of the clean model; ``kept`` and ``kept_of_all``: the share of
    confident and of all predictions that are the same; ``kl``: the mean Kullback-Leibler divergence in nats.
    """
    with torch.no_grad():
        before, after = (
            torch.cat([model.tail(batch) for batch in clean.held_out_batches]).double().log_softmax(dim=1)
            for model in (clean.model, manipulated)
        )
    confident = before.amax(dim=1).exp() >= CONFIDENT
    same = before.argmax(dim=1) == after.argmax(dim=1)
    return {
        "confident": int(confident.sum()),
        "kept": mean(same[confident]) if confident.any() else mean(same),
        "kept_of_all": mean(same),
        "kl": mean((before.exp() * (before - after)).sum(dim=1)),
    }


def compare_maps(
    maps: Mapping[str, Tensor], clean_maps: Mapping[str, Tensor], hoax: Tensor, masks: Tensor | None
) -> dict[str, dict[str, float]]:
    """Return mean correlations over images of every method's maps. Shapes: maps (N, h, w), masks (N, H, W).

    - ``hoax``: with the hoax map
    - ``clean``: with the same method's maps of the clean model
    - ``own_occlusion``: with occlusion maps of the same model, which show whether the map or the model has changed
    - ``mask``: with the object, if it is known
    - ``grad_cam``: with Grad-CAM of the same model; the median over images
    - ``plain``: for an equivariant part, with the whole map of the same model
    """
    numbers = {}
    for name, method_maps in maps.items():
        row = {
            "hoax": mean(pearson(method_maps, hoax[None])),
            "clean": mean(pearson(method_maps, clean_maps[name])),
            "own_occlusion": mean(pearson(method_maps, maps[OCCLUSION])),
            "grad_cam": pearson(method_maps, maps[PLAIN]).median().item(),
        }
        if name in WHOLE_MAP:
            row["plain"] = mean(pearson(method_maps, maps[WHOLE_MAP[name]]))
        if masks is not None:
            areas = interpolate(masks[:, None].float().cpu(), method_maps.shape[1:], mode="area")[:, 0]
            row["mask"] = mean(pearson(method_maps, areas))
        numbers[name] = row
    return numbers


def mean(values: Tensor) -> float:
    """Return the mean in float64."""
    return values.double().mean().item()
