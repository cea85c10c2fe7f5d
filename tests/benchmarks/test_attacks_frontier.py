"""From points to an answer: hand-made curves."""

from __future__ import annotations

import pytest

from benchmarks.attacks.frontier import (
    at_equal_damage,
    at_the_strongest_weight,
    interval,
    rule_for_the_default,
    within_budget,
)
from benchmarks.attacks.methods import GRAD_CAM, LOGSUMEXP, MEAN, REDUCTIONS
from benchmarks.common.forging import SHAM, SHAM_ALL

CUTOUTS, FASHION = "cut-outs, 1000 classes", "Fashion-MNIST, 10 classes"


def point(weight, kept, hoax, others=None, attack=SHAM, setting=CUTOUTS, seed=0):
    """Grad-CAM's correlation with the hoax, and that of the reductions."""
    numbers = {"clean": 0.5, "own_occlusion": 0.4, "grad_cam": 0.95}
    methods = {name: {"hoax": (others or {}).get(name, 0.0), **numbers} for name in REDUCTIONS}
    methods[GRAD_CAM] = {"hoax": hoax, **numbers}
    case = {"setting": setting, "seed": seed, "trained": "last"}
    return {**case, "attack": attack, "weight": weight, "predictions": {"kept": kept, "kl": 0.0}, "methods": methods}


def honest(**case):
    return point(0.0, 1.0, -0.4, attack="none", **case)


def test_where_the_line_crosses_the_budget():
    """Between no decision lost and a tenth, a twentieth is half way."""
    place = within_budget([honest(), point(2.0, 0.9, 0.8)], 0.05, GRAD_CAM)
    assert place["changed_predictions"] == pytest.approx(0.05)
    assert place["weight"] == pytest.approx(1.0)
    assert place["methods"][GRAD_CAM]["hoax"] == pytest.approx(0.2)


def test_the_best_point_that_he_can_afford():
    curve = [point(9.0, 0.5, 0.9), honest(), point(1.0, 0.99, 0.6), point(3.0, 0.97, 0.3)]
    assert within_budget(curve, 0.05, GRAD_CAM)["methods"][GRAD_CAM]["hoax"] == pytest.approx(0.6)
    assert within_budget(curve, 0.01, GRAD_CAM)["weight"] == pytest.approx(1.0)


def test_a_curve_that_comes_back():
    """A harder attack that costs less is affordable."""
    curve = [honest(), point(1.0, 0.8, 0.1), point(2.0, 0.98, 0.7)]
    assert within_budget(curve, 0.05, GRAD_CAM)["methods"][GRAD_CAM]["hoax"] == pytest.approx(0.7)


def test_nothing_but_the_honest_model():
    assert within_budget([honest()], 0.05, GRAD_CAM) is None


def test_rows_have_intervals_over_seeds():
    points = [p for seed, hoax in enumerate((0.5, 0.7)) for p in (honest(seed=seed), point(1, 1.0, hoax, seed=seed))]
    rows = at_equal_damage(points)
    assert [row["budget"] for row in rows] == ["1 %", "5 %"]
    found = rows[0]["methods"][GRAD_CAM]["hoax"]
    assert rows[0]["seeds"] == 2
    assert found["mean"] == pytest.approx(0.6)
    # Student's t with one degree of freedom: 12.706 standard errors of 0.1.
    assert found["high"] == pytest.approx(0.6 + 1.2706, abs=1e-3)
    assert interval([0.3]) == {"mean": 0.3}


def cases(of_mean):
    """Four pairs, in which logsumexp is at 0.5 and the mean as given."""
    points = []
    for setting in (CUTOUTS, FASHION):
        points.append(honest(setting=setting))
        for attack, by in ((SHAM, 0.01), (SHAM_ALL, -0.01)):
            points.append(point(1, 1.0, 0.9, {LOGSUMEXP: 0.5, MEAN: of_mean + by}, attack, setting))
    return points


def test_the_strongest_attack_whatever_it_costs():
    points = [
        p
        for seed, (kept, hoax) in enumerate([(0.6, 0.8), (0.4, 0.6)])
        for p in (honest(seed=seed), point(3.0, kept, hoax, seed=seed), point(1.0, 0.9, 0.1, seed=seed))
    ]
    (row,) = at_the_strongest_weight([*points, point(9.0, 0.1, 0.9, attack=SHAM_ALL)])
    assert (row["weight"], row["seeds"]) == (3.0, 2)
    assert row["kept"]["mean"] == pytest.approx(0.5)
    assert row["methods"][GRAD_CAM]["hoax"]["mean"] == pytest.approx(0.7)


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
    """An attacker who trains more of the same model brings no further evidence to the rule."""
    points = cases(0.1)
    others = [{**each, "trained": "all"} for each in points]
    assert rule_for_the_default([*points, *others]) == rule_for_the_default(points)


@pytest.mark.parametrize(("key", "value"), [("grad_cam", 0.8), ("own_occlusion", 0.3)])
def test_what_the_rule_asks_of_honest_maps(key, value):
    points = cases(0.1)
    for each in points:
        if each["attack"] == "none":
            for name in REDUCTIONS[1:]:
                each["methods"][name][key] = value
    assert rule_for_the_default(points)["chosen"] == LOGSUMEXP


def test_too_few_pairs_change_nothing():
    rule = rule_for_the_default(cases(0.1)[:2])
    assert rule["chosen"] == LOGSUMEXP
    assert not rule["enough"]
    assert rule_for_the_default([])["chosen"] == LOGSUMEXP
