"""What is counted of audits, and what was to be reached."""

from __future__ import annotations

import pytest

from benchmarks.audit.by_hand import PAINTED
from benchmarks.audit.planned import KNOWS_ALL, KNOWS_ONE, Point, planned
from benchmarks.audit.tables import counts, forged_rows, honest_rows, upper_bound
from benchmarks.audit.targets import reached, verdict
from benchmarks.common.forging import AT_ONCE, SHAM


def audited(verdict, suspicion, forwards=10.0):
    return {"verdict": verdict, "suspicion": suspicion, "forward_passes": forwards, "excess": 0.1, "equivariance": 0.2}


CLEAN, LIES, OPEN = "no sign of manipulation", "manipulated", "undecided"
HONEST = [
    {"kind": "one", "audits": [audited(CLEAN, -0.5), audited(OPEN, 0.1)]},
    {"kind": "other", "audits": [audited(CLEAN, -0.7)]},
]
FORGED = [
    {"attack": SHAM, "kind": "one", "hoax": 0.9, "predictions_kept": 1.0, "audits": [audited(LIES, 0.9)]},
    {"attack": SHAM, "kind": "one", "hoax": 0.7, "predictions_kept": 0.9, "audits": [audited(OPEN, 0.0)]},
    {"attack": SHAM, "kind": "one", "hoax": 0.2, "predictions_kept": 1.0, "audits": [audited(CLEAN, -0.6)]},
    {"attack": AT_ONCE, "kind": "one", "hoax": 0.6, "predictions_kept": 1.0, "audits": [audited(LIES, 0.8, 30.0)]},
]


@pytest.mark.parametrize(
    ("hits", "of", "bound"), [(0, 29, 1 - 0.05 ** (1 / 29)), (0, 59, 0.0495), (1, 20, 0.2161), (3, 3, 1.0)]
)
def test_the_bound_of_a_rate(hits, of, bound):
    assert upper_bound(hits, of) == pytest.approx(bound, abs=2e-4)


def test_rows_of_honest_models():
    every, one, other = honest_rows(HONEST)
    assert (every["kind"], every["models"], every["audits"], every["no_sign"], every["undecided"]) == (
        "all",
        2,
        3,
        2,
        1,
    )
    assert (one["audits"], other["audits"], every["manipulated"]) == (2, 1, 0)
    assert every["upper_bound"] == pytest.approx(1 - 0.05 ** (1 / 3))


def test_rows_of_forged_models():
    sham, at_once = forged_rows(FORGED, HONEST)
    assert (sham["models"], sham["showing_hoax"], sham["manipulated"], sham["manipulated_of_all"]) == (3, 2, 1, 1)
    assert sham["hoax"] == pytest.approx(0.6)
    # Of six pairs of a forged and an honest audit five are in order: 0.0 is below 0.1.
    assert sham["auroc"] == pytest.approx(5 / 6)
    assert at_once["auroc"] == 1.0
    assert [row["kind"] for row in forged_rows([{**each, "kind": str(n)} for n, each in enumerate(FORGED)], [])] == [
        *"0123"
    ]


def test_attackers_by_hand_must_not_pass():
    painted = {"attack": PAINTED, "kind": "one", "hoax": 0.9, "predictions_kept": 1.0}
    for verdict_, reached_ in ((OPEN, True), (CLEAN, False)):
        (target,) = [
            each
            for each in reached([], [{**painted, "audits": [audited(verdict_, 0.1)]}])
            if each["figure"] == "hand-made attacks: no sign of manipulation"
        ]
        assert target["reached"] == reached_


def test_what_was_reached():
    found = {target["figure"]: target for target in reached(HONEST, FORGED)}
    assert found["clean models reported as manipulated"]["reached"]
    assert found["the same, upper 95 % bound"]["reached"] is False
    assert found["attacks that show the hoax map: detected"]["value"] == 0.5
    assert found["attacks that show the hoax map: AUROC"]["value"] == pytest.approx(5 / 6)
    assert found[f"{AT_ONCE}: detected"]["reached"]
    assert found["forward passes per image, median audit"]["value"] == 10.0
    assert f"attack on {KNOWS_ONE}: detected" not in found


def test_the_verdict_in_words():
    record = {
        "clean": honest_rows(HONEST),
        "manipulated": forged_rows(FORGED, HONEST),
        "targets": reached(HONEST, FORGED),
    }
    said = " ".join(verdict(record))
    assert "Of 3 audits of 2 clean models, 0 reported manipulation" in said
    assert "Of 3 audits of forged models that show the hoax 2 found it, 0 passed them" in said
    assert "Not reached: the same, upper 95 % bound; attacks that show the hoax map: detected" in said


def test_where_nothing_was_audited_nothing_is_said():
    assert verdict({"clean": [], "manipulated": [], "targets": reached([], [])}) == []


def test_counts_of_one():
    assert counts([audited(OPEN, 0.0)])["undecided"] == 1


def test_what_is_planned():
    points = planned([0, 1, 2, 3, 4], quick=False)
    assert len(set(points)) == len(points) == len({point.key for point in points})
    assert {point.seed for point in points if point.attack is None} == {0, 1, 2, 3, 4}
    assert {point.kind for point in planned([7], quick=False)} == {point.kind for point in points}
    assert {point.seed for point in points if point.attack == KNOWS_ALL} == {0}
    assert {point.fills for point in points if point.attack == KNOWS_ALL} == {("mean", "blur", "other")}
    assert Point("glyphs, 10 classes", 0, SHAM).fills == ()
