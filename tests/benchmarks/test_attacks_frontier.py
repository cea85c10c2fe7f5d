"""From points to results, on curves made by hand."""

from __future__ import annotations

import pytest

from benchmarks.attacks.frontier import (
    best_within_budget,
    frontier_rows,
    interval,
    rule_for_the_default,
    strongest_rows,
)
from benchmarks.attacks.methods import CANDIDATES
from benchmarks.common.manipulated_models import LOGSUMEXP, MEAN, PLAIN, SHAM, SHAM_ALL

CUTOUTS, FASHION = "cut-outs, 1000 classes", "Fashion-MNIST, 10 classes"


def point(weight, kept, hoax, others=None, attack=SHAM, setting=CUTOUTS, seed=0):
    """Grad-CAM's correlation with the hoax, and that of the reductions."""
    numbers = {"clean": 0.5, "own_occlusion": 0.4, "grad_cam": 0.95}
    methods = {name: {"hoax": (others or {}).get(name, 0.0), **numbers} for name in CANDIDATES}
    methods[PLAIN] = {"hoax": hoax, **numbers}
    case = {"setting": setting, "seed": seed, "trained": "last"}
    return {**case, "attack": attack, "weight": weight, "predictions": {"kept": kept, "kl": 0.0}, "methods": methods}


def clean(**case):
    return point(0.0, 1.0, -0.4, attack="none", **case)


def test_where_the_line_crosses_the_budget():
    """Between none and a tenth of changed predictions, a twentieth is half way."""
    place = best_within_budget([clean(), point(2.0, 0.9, 0.8)], 0.05, PLAIN)
    assert place["changed_predictions"] == pytest.approx(0.05)
    assert place["weight"] == pytest.approx(1.0)
    assert place["methods"][PLAIN]["hoax"] == pytest.approx(0.2)


def test_where_a_line_between_two_attacks_crosses_the_budget():
    """From 2 % to 12 % of changed predictions, 5 % is at three tenths of the way."""
    place = best_within_budget([clean(), point(1.0, 0.98, 0.2), point(2.0, 0.88, 0.6)], 0.05, PLAIN)
    assert place["changed_predictions"] == pytest.approx(0.05)
    assert place["weight"] == pytest.approx(1.3)
    assert place["methods"][PLAIN]["hoax"] == pytest.approx(0.32)


def test_a_point_that_nearly_uses_up_the_budget():
    assert best_within_budget([clean(), point(1.0, 0.96, 0.6)], 0.05, PLAIN)["weight"] == 1.0


def test_the_best_point_within_the_budget():
    curve = [point(9.0, 0.5, 0.9), clean(), point(1.0, 0.99, 0.6), point(3.0, 0.97, 0.3)]
    assert best_within_budget(curve, 0.05, PLAIN)["methods"][PLAIN]["hoax"] == pytest.approx(0.6)
    assert best_within_budget(curve, 0.01, PLAIN)["weight"] == pytest.approx(1.0)


def test_a_curve_that_comes_back():
    """A stronger attack that changes fewer predictions is within the budget."""
    curve = [clean(), point(1.0, 0.8, 0.1), point(2.0, 0.98, 0.7)]
    assert best_within_budget(curve, 0.05, PLAIN)["methods"][PLAIN]["hoax"] == pytest.approx(0.7)


def test_nothing_but_the_clean_model():
    assert best_within_budget([clean()], 0.05, PLAIN) is None


def test_rows_have_intervals_over_seeds():
    points = [p for seed, hoax in enumerate((0.5, 0.7)) for p in (clean(seed=seed), point(1, 1.0, hoax, seed=seed))]
    rows = frontier_rows(points)
    assert [row["budget"] for row in rows] == ["1 %", "5 %"]
    found = rows[0]["methods"][PLAIN]["hoax"]
    assert rows[0]["seeds"] == 2
    assert found["mean"] == pytest.approx(0.6)
    # Student's t with one degree of freedom: 12.706 standard errors of 0.1.
    assert found["high"] == pytest.approx(0.6 + 1.2706, abs=1e-3)
    assert interval([0.3]) == {"mean": 0.3}


def cases(of_mean):
    """Four pairs, in which logsumexp has 0.5 and the mean the value given."""
    points = []
    for setting in (CUTOUTS, FASHION):
        points.append(clean(setting=setting))
        for attack, by in ((SHAM, 0.01), (SHAM_ALL, -0.01)):
            points.append(point(1, 1.0, 0.9, {LOGSUMEXP: 0.5, MEAN: of_mean + by}, attack, setting))
    return points


def test_the_strongest_attack_at_any_cost():
    points = [
        p
        for seed, (kept, hoax) in enumerate([(0.6, 0.8), (0.4, 0.6)])
        for p in (clean(seed=seed), point(3.0, kept, hoax, seed=seed), point(1.0, 0.9, 0.1, seed=seed))
    ]
    (row,) = strongest_rows([*points, point(9.0, 0.1, 0.9, attack=SHAM_ALL)])
    assert (row["weight"], row["seeds"]) == (3.0, 2)
    assert row["kept"]["mean"] == pytest.approx(0.5)
    assert row["methods"][PLAIN]["hoax"]["mean"] == pytest.approx(0.7)


def test_the_rule():
    better, worse = rule_for_the_default(cases(0.1)), rule_for_the_default(cases(0.6))
    assert better["pairs"] == 4
    assert better["candidates"][MEAN]["difference"]["mean"] == pytest.approx(-0.4)
    # The others are at zero, lower still.
    assert better["candidates"][MEAN]["meets"]
    assert better["chosen"] != LOGSUMEXP
    assert not worse["candidates"][MEAN]["meets"]
    assert not better["candidates"][LOGSUMEXP]["meets"]


def test_one_pair_for_each_setting_attack_and_seed():
    """Points with another trained part do not count for the rule."""
    points = cases(0.1)
    others = [{**each, "trained": "all"} for each in points]
    assert rule_for_the_default([*points, *others]) == rule_for_the_default(points)


@pytest.mark.parametrize(("key", "value"), [("grad_cam", 0.8), ("own_occlusion", 0.3)])
def test_what_the_rule_requires_of_clean_maps(key, value):
    points = cases(0.1)
    for each in points:
        if each["attack"] == "none":
            for name in CANDIDATES[1:]:
                each["methods"][name][key] = value
    assert rule_for_the_default(points)["chosen"] == LOGSUMEXP


def test_too_few_pairs_change_nothing():
    rule = rule_for_the_default(cases(0.1)[:2])
    assert rule["chosen"] == LOGSUMEXP
    assert not rule["enough"]
    assert rule_for_the_default([])["chosen"] == LOGSUMEXP
