"""What an attack did: to the decisions, and to every map."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.attacks.methods import GRAD_CAM, HALVES, LOGSUMEXP, MIRRORED, MOVING, NINE, OCCLUSION
from benchmarks.common.stem_and_tail import Staged
from benchmarks.common.victims import SURE, Victim
from captum_diffcam.metrics import pearson

PLAIN = {**{moving: name for name, moving in MOVING.items()}, **dict.fromkeys((NINE, HALVES, MIRRORED), LOGSUMEXP)}
"""What each equivariant part is a part of."""


def decisions(victim: Victim, forged: Staged) -> dict[str, float]:
    """How many of the honest model's confident decisions the forged one keeps, and what the probabilities lost."""
    with torch.no_grad():
        before, after = (
            torch.cat([model.tail(batch) for batch in victim.decided]).double().log_softmax(dim=1)
            for model in (victim.model, forged)
        )
    sure = before.amax(dim=1).exp() >= SURE
    same = before.argmax(dim=1) == after.argmax(dim=1)
    return {
        "confident": int(sure.sum()),
        "kept": _mean(same[sure]) if sure.any() else _mean(same),
        "kept_of_all": _mean(same),
        "kl": _mean((before.exp() * (before - after)).sum(dim=1)),
    }


def of_maps(
    maps: Mapping[str, Tensor], honest: Mapping[str, Tensor], hoax: Tensor, masks: Tensor | None
) -> dict[str, dict[str, float]]:
    """Means over images of the correlations of every method's maps. Shapes: maps (N, h, w), masks (N, H, W).

    - ``hoax``: with what the attacker wants to be seen
    - ``honest``: with the same method's maps of the honest model
    - ``own_occlusion``: with occlusion of the forged model, which says whether the map lies or the model has changed
    - ``mask``: with the object, where it is known
    - ``grad_cam``: with Grad-CAM of the same model; the median over images
    - ``plain``: of a equivariant part, with the whole map of the same model
    """
    found = {}
    for name, each in maps.items():
        numbers = {
            "hoax": _mean(pearson(each, hoax[None])),
            "clean": _mean(pearson(each, honest[name])),
            "own_occlusion": _mean(pearson(each, maps[OCCLUSION])),
            "grad_cam": pearson(each, maps[GRAD_CAM]).median().item(),
        }
        if name in PLAIN:
            numbers["plain"] = _mean(pearson(each, maps[PLAIN[name]]))
        if masks is not None:
            areas = interpolate(masks[:, None].float().cpu(), each.shape[1:], mode="area")[:, 0]
            numbers["mask"] = _mean(pearson(each, areas))
        found[name] = numbers
    return found


def _mean(values: Tensor) -> float:
    return values.double().mean().item()
