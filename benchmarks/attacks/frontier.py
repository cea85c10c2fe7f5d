"""From points to results: the best attack within an accuracy budget, and the rule for the default."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from scipy import stats

from benchmarks.attacks.methods import CANDIDATES
from benchmarks.attacks.plan import NO_ATTACK
from benchmarks.common.manipulated_models import ATTACKS, PLAIN, SHAM, SHAM_ALL
from benchmarks.common.names import CLOTHES, CUTOUTS

BUDGETS = (0.01, 0.05)
_RULE_SETTINGS = (CUTOUTS, CLOTHES)
_LEAST_AGREEMENT, _WORSE = 0.9, 0.02
_FEWEST_PAIRS = 3
Row: TypeAlias = dict[str, Any]


def best_within_budget(curve: Sequence[Row], budget: float, attacked: str) -> Row | None:
    """Return the best result for an attacker who may change this share of the confident predictions.

    Straight lines join the points of a curve in the order of their weights, beginning with the clean model. Of all
    places within the budget, the attacker takes the one where the attacked map correlates best with the hoax map. It is
    a point, or the place where a line crosses the budget. None if only the clean model is within the budget.

    Args:
        curve: points with ``weight``, ``predictions`` and ``methods``.
        budget: a share of the confident predictions.
        attacked: the method that is attacked.
    """
    ordered = sorted(curve, key=lambda point: point["weight"])
    changed = [1 - point["predictions"]["kept"] for point in ordered]
    places: list[Row] = [
        _interpolated(point, point, 0.0) for point, share in zip(ordered, changed, strict=True) if share <= budget
    ]
    for i, (low, high) in enumerate(pairwise(changed)):
        if (low - budget) * (high - budget) < 0:
            places.append(_interpolated(ordered[i], ordered[i + 1], (budget - low) / (high - low)))
    attacks = [place for place in places if place["weight"] > 0]
    return max(attacks, key=lambda place: place["methods"][attacked]["hoax"]) if attacks else None


def _interpolated(before: Row, after: Row, share: float) -> Row:
    def numbers(one: Mapping[str, Any], other: Mapping[str, Any]) -> Row:
        return {key: (1 - share) * one[key] + share * other[key] for key in one}

    return {
        "weight": (1 - share) * before["weight"] + share * after["weight"],
        "changed_predictions": 1 - numbers(before["predictions"], after["predictions"])["kept"],
        "methods": {name: numbers(before["methods"][name], after["methods"][name]) for name in before["methods"]},
    }


def curves(points: Iterable[Row]) -> dict[tuple[str, str, str, int], list[Row]]:
    """Return points that differ in their weight alone, with the clean model at weight zero.

    The keys are setting, trained part, attack and seed.
    """
    clean, attacks = {}, defaultdict(list)
    for point in points:
        case = (point["setting"], point["trained"], point["seed"])
        if point["attack"] == NO_ATTACK:
            clean[case] = point
        elif point["attack"] in ATTACKS:
            attacks[(point["setting"], point["trained"], point["attack"], point["seed"])].append(point)
    return {
        (setting, trained, attack, seed): [clean[setting, trained, seed], *points]
        for (setting, trained, attack, seed), points in attacks.items()
        if (setting, trained, seed) in clean
    }


def with_usual_trained_part(points: Iterable[Row]) -> list[Row]:
    """Return the points whose attacker trains the usual part, which is that of the first point of each setting."""
    rows = list(points)
    usual: dict[str, str] = {}
    for point in rows:
        usual.setdefault(point["setting"], point["trained"])
    return [point for point in rows if point["trained"] == usual[point["setting"]]]


def frontier_rows(points: Iterable[Row]) -> list[Row]:
    """Return a row for each setting, trained part, attack and budget: means over seeds, with intervals."""
    cases: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for (setting, trained, attack, _), curve in curves(points).items():
        for budget in BUDGETS:
            place = best_within_budget(curve, budget, ATTACKS[attack].targets[0])
            if place is not None:
                cases[setting, trained, attack, budget].append(place)
    return [
        {
            "setting": setting,
            "trained": trained,
            "attack": attack,
            "budget": f"{100 * budget:.0f} %",
            "seeds": len(places),
            "changed_predictions": interval([place["changed_predictions"] for place in places]),
            "weight": interval([place["weight"] for place in places]),
            "methods": over_seeds([place["methods"] for place in places]),
        }
        for (setting, trained, attack, budget), places in cases.items()
    ]


def strongest_rows(points: Iterable[Row]) -> list[Row]:
    """Return a row for SHAM on the true class with the largest weight, whatever it costs: means over seeds."""
    cases: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for (setting, trained, attack, _), curve in curves(points).items():
        if attack == SHAM:
            cases[setting, trained].append(max(curve, key=lambda point: point["weight"]))
    return [
        {
            "setting": setting,
            "trained": trained,
            "attack": SHAM,
            "weight": strongest[0]["weight"],
            "seeds": len(strongest),
            "kept": interval([point["predictions"]["kept"] for point in strongest]),
            "methods": over_seeds([point["methods"] for point in strongest]),
        }
        for (setting, trained), strongest in cases.items()
    ]


def over_seeds(methods: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Row]]:
    """Return the mean over seeds of every number of every method, with its interval."""
    return {
        name: {key: interval([seed[name][key] for seed in methods]) for key in numbers}
        for name, numbers in methods[0].items()
    }


def interval(values: Sequence[float]) -> Row:
    """Return the mean, and for several values the 95 % interval of Student's t."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": mean}
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def rule_for_the_default(points: Sequence[Row]) -> Row:
    """Evaluate the rule in the docstring of this benchmark, with one pair for each setting, attack and seed."""
    points = with_usual_trained_part(points)
    default = CANDIDATES[0]
    hoaxes: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for (setting, _, attack, _), curve in curves(points).items():
        if setting in _RULE_SETTINGS and attack in (SHAM, SHAM_ALL):
            place = best_within_budget(curve, BUDGETS[1], PLAIN)
            if place is not None:
                for name in CANDIDATES:
                    hoaxes[name].append(place["methods"][name]["hoax"])
    clean = [p["methods"] for p in points if p["attack"] == NO_ATTACK and p["setting"] in _RULE_SETTINGS]
    candidates: dict[str, Row] = {}
    for name in CANDIDATES:
        differences = [one - other for one, other in zip(hoaxes[name], hoaxes[default], strict=True)]
        agreement = float(np.median([methods[name]["grad_cam"] for methods in clean])) if clean else None
        worse = (
            float(np.mean([m[default]["own_occlusion"] - m[name]["own_occlusion"] for m in clean])) if clean else None
        )
        difference = interval(differences) if differences else {}
        meets = (
            name != default
            and len(differences) >= _FEWEST_PAIRS
            and difference["high"] < 0
            and agreement is not None
            and agreement >= _LEAST_AGREEMENT
            and worse is not None
            and worse <= _WORSE
        )
        candidates[name] = {
            "hoax": interval(hoaxes[name]) if hoaxes[name] else {},
            "difference": difference,
            "agreement": agreement,
            "worse_with_occlusion": worse,
            "meets": bool(meets),
        }
    better = {name: candidate for name, candidate in candidates.items() if candidate["meets"]}
    chosen = min(better, key=lambda name: better[name]["hoax"]["mean"]) if better else default
    return {
        "default": default,
        "chosen": chosen,
        "pairs": len(hoaxes[default]),
        "enough": len(hoaxes[default]) >= _FEWEST_PAIRS,
        "candidates": candidates,
    }
