"""From points to an answer: what an attacker gets for the decisions that he may lose, and the rule for the default."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.attacks.methods import GRAD_CAM, LOGSUMEXP, MAX, MEAN, MOVING, REDUCTIONS
from benchmarks.attacks.points import HONEST
from benchmarks.common.forging import ADAPTIVE, AGAINST_MOVING, AT_ONCE, SHAM, SHAM_ALL
from benchmarks.common.names import CLOTHES, CUTOUTS

BUDGETS = (0.01, 0.05)
AIMED = {
    SHAM: GRAD_CAM,
    SHAM_ALL: GRAD_CAM,
    AT_ONCE: GRAD_CAM,
    AGAINST_MOVING: MOVING[LOGSUMEXP],
    ADAPTIVE["logsumexp"]: LOGSUMEXP,
    ADAPTIVE["mean"]: MEAN,
    ADAPTIVE["max"]: MAX,
}
"""Which map of those that are measured an attack is after."""
_RULE_SETTINGS = (CUTOUTS, CLOTHES)
_LEAST_AGREEMENT, _WORSE = 0.9, 0.02
_FEWEST_PAIRS = 3
Found = dict[str, Any]


def within_budget(curve: Sequence[Found], budget: float, aimed: str) -> Found | None:
    """What the attacker gets who may lose so large a share of the confident decisions.

    The points of a curve are joined by straight lines, in the order of their weights, the honest model first. Of all
    that lies within the budget he takes the place where the map that he is after correlates best with the hoax. That is
    a point, or where a line crosses the budget. None where nothing but the honest model lies within it.

    Args:
        curve: points with ``weight``, ``decisions`` and ``methods``.
        budget: share of the confident decisions.
        aimed: the attacked method.
    """
    ordered = sorted(curve, key=lambda point: point["weight"])
    lost = [1 - point["predictions"]["kept"] for point in ordered]
    places: list[Found] = [
        _mixed(point, point, 0.0) for point, share in zip(ordered, lost, strict=True) if share <= budget
    ]
    for (before, less), (after, more) in zip(
        zip(ordered, lost, strict=True), zip(ordered[1:], lost[1:], strict=True), strict=False
    ):
        if (less - budget) * (more - budget) < 0:
            places.append(_mixed(before, after, (budget - less) / (more - less)))
    fooled = [place for place in places if place["weight"] > 0]
    return max(fooled, key=lambda place: place["methods"][aimed]["hoax"]) if fooled else None


def _mixed(before: Found, after: Found, share: float) -> Found:
    def numbers(one: Mapping[str, Any], other: Mapping[str, Any]) -> Found:
        return {key: (1 - share) * one[key] + share * other[key] for key in one}

    return {
        "weight": (1 - share) * before["weight"] + share * after["weight"],
        "changed_predictions": 1 - numbers(before["predictions"], after["predictions"])["kept"],
        "methods": {name: numbers(before["methods"][name], after["methods"][name]) for name in before["methods"]},
    }


def curves(points: Iterable[Found]) -> dict[tuple[str, str, str, int], list[Found]]:
    """Points that differ in weight alone, with the honest model at weight zero: by setting, reach, attack and seed."""
    honest, found = {}, defaultdict(list)
    for point in points:
        case = (point["setting"], point["trained"], point["seed"])
        if point["attack"] == HONEST:
            honest[case] = point
        elif point["attack"] in AIMED:
            found[(point["setting"], point["trained"], point["attack"], point["seed"])].append(point)
    return {
        key: [honest[(key[0], key[1], key[3])], *rest]
        for key, rest in found.items()
        if (key[0], key[1], key[3]) in honest
    }


def of_usual_reach(points: Iterable[Found]) -> list[Found]:
    """Those of the attacker who trains what is usual in their setting, which is what its first point says."""
    listed = list(points)
    usual: dict[str, str] = {}
    for point in listed:
        usual.setdefault(point["setting"], point["trained"])
    return [point for point in listed if point["trained"] == usual[point["setting"]]]


def at_equal_damage(points: Iterable[Found]) -> list[Found]:
    """A row for each setting, reach, attack and budget: every number's mean over seeds, with its interval."""
    cases: dict[tuple[Any, ...], list[Found]] = defaultdict(list)
    for (setting, reach, attack, _), curve in curves(points).items():
        for budget in BUDGETS:
            place = within_budget(curve, budget, AIMED[attack])
            if place is not None:
                cases[(setting, reach, attack, budget)].append(place)
    rows = []
    for (setting, reach, attack, budget), places in cases.items():
        rows.append(
            {
                "setting": setting,
                "trained": reach,
                "attack": attack,
                "budget": f"{100 * budget:.0f} %",
                "seeds": len(places),
                "changed_predictions": interval([place["changed_predictions"] for place in places]),
                "weight": interval([place["weight"] for place in places]),
                "methods": over_seeds([place["methods"] for place in places]),
            }
        )
    return rows


def at_the_strongest_weight(points: Iterable[Found]) -> list[Found]:
    """A row for each curve of SHAM on the true class, whatever it costs: every number's mean over seeds."""
    cases: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for (setting, reach, attack, _), curve in curves(points).items():
        if attack == SHAM:
            cases[(setting, reach)].append(max(curve, key=lambda point: point["weight"]))
    return [
        {
            "setting": setting,
            "trained": reach,
            "attack": SHAM,
            "weight": found[0]["weight"],
            "seeds": len(found),
            "kept": interval([point["predictions"]["kept"] for point in found]),
            "methods": over_seeds([point["methods"] for point in found]),
        }
        for (setting, reach), found in cases.items()
    ]


def over_seeds(methods: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, Found]]:
    """Every number of every method: its mean over seeds, with its interval."""
    return {
        name: {key: interval([each[name][key] for each in methods]) for key in numbers}
        for name, numbers in methods[0].items()
    }


def interval(values: Sequence[float]) -> Found:
    """The mean, and where there are several values the 95 % interval of Student's t."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return {"mean": mean}
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def rule_for_the_default(points: Sequence[Found]) -> Found:
    """The rule in the docstring of this benchmark, evaluated: one pair for each setting, attack and seed."""
    points = of_usual_reach(points)
    default = REDUCTIONS[0]
    hoaxes: dict[str, list[float]] = {name: [] for name in REDUCTIONS}
    for (setting, _, attack, _), curve in curves(points).items():
        if setting in _RULE_SETTINGS and attack in (SHAM, SHAM_ALL):
            place = within_budget(curve, BUDGETS[1], GRAD_CAM)
            if place is not None:
                for name in REDUCTIONS:
                    hoaxes[name].append(place["methods"][name]["hoax"])
    honest = [p["methods"] for p in points if p["attack"] == HONEST and p["setting"] in _RULE_SETTINGS]
    candidates: dict[str, Found] = {}
    for name in REDUCTIONS:
        differences = [one - other for one, other in zip(hoaxes[name], hoaxes[default], strict=True)]
        agreement = float(np.median([methods[name]["grad_cam"] for methods in honest])) if honest else None
        worse = (
            float(np.mean([m[default]["own_occlusion"] - m[name]["own_occlusion"] for m in honest])) if honest else None
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
    better = {name: c for name, c in candidates.items() if c["meets"]}
    chosen = min(better, key=lambda name: better[name]["hoax"]["mean"]) if better else default
    return {
        "default": default,
        "chosen": chosen,
        "pairs": len(hoaxes[default]),
        "enough": len(hoaxes[default]) >= _FEWEST_PAIRS,
        "candidates": candidates,
    }
