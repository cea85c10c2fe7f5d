"""How well the audit tells honest models from attacked ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.sham.attacks import CONTROL
from benchmarks.sham.experiment import HONEST, Outcome

BATCH = 32
"""Images from which the verdict on a model is taken."""


def audited(outcomes: Sequence[Outcome], threshold: float) -> dict[str, dict[str, Any]]:
    """By attack: AUROC per image and per model, and how often the verdict is "manipulated".

    Honest are the model itself and the control. Per model means: over batches of
    images, with their mean score; batches of one model are no independent models, so the lowest value of any seed is
    given too. ``disagreement_auroc_model`` is what the audit would do without its witness.
    """
    found: dict[str, dict[str, Any]] = {}
    for attack in outcomes[0].attacks:
        models = _batches(outcomes, [attack], "scores")
        found[attack] = {
            "score": float(np.mean(models)),
            "called_manipulated": float(np.mean(np.array(models) > threshold)),
            "batches": len(models),
        }
        if attack not in (HONEST, CONTROL):
            found[attack] |= {
                "auroc_image": _auroc(outcomes, attack, "scores", per_model=False),
                "auroc_model": _auroc(outcomes, attack, "scores", per_model=True),
                "auroc_model_lowest": min(_auroc([one], attack, "scores", per_model=True) for one in outcomes),
                "disagreement_auroc_model": _auroc(outcomes, attack, "disagreement", per_model=True),
            }
    return found


def separating_threshold(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """The highest score of an honest batch and the lowest of an attacked one."""
    attacked = [attack for attack in outcomes[0].attacks if attack not in (HONEST, CONTROL)]
    return max(_batches(outcomes, [HONEST, CONTROL], "scores")), min(_batches(outcomes, attacked, "scores"))


def _auroc(outcomes: Sequence[Outcome], attack: str, evidence: str, per_model: bool) -> float:
    of = _batches if per_model else _images
    honest, attacked = of(outcomes, [HONEST, CONTROL], evidence), of(outcomes, [attack], evidence)
    return float(roc_auc_score([0] * len(honest) + [1] * len(attacked), honest + attacked))


def _images(outcomes: Sequence[Outcome], attacks: Sequence[str], evidence: str) -> list[float]:
    return [value for outcome in outcomes for attack in attacks for value in outcome.attacks[attack][evidence]]


def _batches(outcomes: Sequence[Outcome], attacks: Sequence[str], evidence: str) -> list[float]:
    """The mean of every batch; a rest that fills none is left out, unless there is nothing else."""
    means = []
    for outcome in outcomes:
        for attack in attacks:
            values = outcome.attacks[attack][evidence]
            size = min(BATCH, len(values))
            starts = range(0, len(values) - size + 1, size)
            means += [float(np.mean(values[start : start + size])) for start in starts]
    return means
