"""What an attack did: to the decisions, to the maps, and whether the audit saw it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from benchmarks.common.localization import energy, upsample
from benchmarks.sham.attacked_models import Victim
from captum_diffcam.metrics import cam_entropy, pearson

_FOOLED = 0.2
"""Heo et al.: location fooling has succeeded where its loss is within 0 to 0.2."""

Numbers = dict[str, float]


def decisions(victim: Victim, forged: nn.Module) -> Numbers:
    """Accuracy before and after, agreement of the predictions, and what the probabilities lost, in nats.

    ``accuracy`` and ``honest_accuracy`` are missing where there are no labels.
    """
    with torch.no_grad():
        before, after = (model(victim.images).double().log_softmax(dim=1) for model in (victim.model, forged))
    numbers = {
        "top1_agreement": _share(before.argmax(dim=1) == after.argmax(dim=1)),
        "kl": (before.exp() * (before - after)).sum(dim=1).mean().item(),
        "largest_change": (before.exp() - after.exp()).abs().max().item(),
    }
    if victim.labels is not None:
        numbers["honest_accuracy"] = _share(before.argmax(dim=1) == victim.labels)
        numbers["accuracy"] = _share(after.argmax(dim=1) == victim.labels)
    return numbers


def of_maps(maps: Tensor, honest: Tensor, hoax: Tensor, masks: Tensor | None) -> Numbers:
    """Means over images. Shapes: maps and honest (N, h, w), signed, hoax (h, w), masks (N, H, W).

    Correlations are of the signed maps. SSIM, energy, entropy and success are of what is looked at: after ReLU.
    ``energy`` is missing where there are no masks.
    """
    hoaxes = hoax.expand_as(maps)
    lit, lit_honest, lit_hoax = (_lit(each) for each in (maps, honest, hoaxes))
    numbers = {
        "pearson_hoax": pearson(maps, hoaxes).mean().item(),
        "spearman_hoax": _spearman(maps, hoaxes),
        "ssim_hoax": _ssim(lit, lit_hoax),
        "pearson_honest": pearson(maps, honest).mean().item(),
        "spearman_honest": _spearman(maps, honest),
        "ssim_honest": _ssim(lit, lit_honest),
        "largest_change": _largest_change(maps, honest),
        "entropy": cam_entropy(maps).mean().item(),
        "success_rate": _share((lit - lit_hoax).square().flatten(1).mean(dim=1) <= _FOOLED),
    }
    if masks is not None:
        on_object = energy(upsample(maps.relu(), *masks.shape[1:]), masks[:, None].cpu())
        numbers["energy"] = on_object.mean().item()
    return numbers


def means(seeds: list[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Every number's mean, lowest and highest value over the seeds."""
    columns = {name: [numbers[name] for numbers in seeds] for name in seeds[0]}
    return {n: {"mean": float(np.mean(v)), "low": min(v), "high": max(v)} for n, v in columns.items()}


def _share(true: Tensor) -> float:
    return true.double().mean().item()


def _lit(maps: Tensor) -> Tensor:
    positive = maps.relu()
    peak = positive.flatten(1).amax(dim=1)[:, None, None]
    return positive / peak.where(peak > 0, 1)


def _spearman(maps: Tensor, others: Tensor) -> float:
    ranks = [torch.from_numpy(rankdata(each.flatten(1).numpy(), axis=1)) for each in (maps, others)]
    return pearson(*ranks).mean().item()


def _largest_change(maps: Tensor, honest: Tensor) -> float:
    """The largest distance of any map from its honest one, as a share of the honest map's length."""
    distance, length = (each.flatten(1).norm(dim=1) for each in (maps - honest, honest))
    shares: Tensor = distance / length.clamp(min=torch.finfo(length.dtype).tiny)
    return shares.max().item()


def _ssim(maps: Tensor, others: Tensor) -> float:
    """Over windows of 3 x 3 positions: the maps themselves are small. Not a number for smaller ones."""
    if min(maps.shape[1:]) < 3:
        return math.nan
    pairs = zip(maps.numpy(), others.numpy(), strict=True)
    ssim: Any = structural_similarity
    return float(np.mean([ssim(a, b, win_size=3, data_range=1.0) for a, b in pairs]))
