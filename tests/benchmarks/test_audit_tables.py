"""What is counted of audits, and the targets."""

from __future__ import annotations

import pytest

from benchmarks.audit.hand_made import PAINTED
from benchmarks.audit.plan import OCCLUSION_ATTACKS, Point, planned
from benchmarks.audit.tables import clean_rows, counts, manipulated_rows, upper_bound, write_tables
from benchmarks.audit.targets import reached, verdict
from benchmarks.common.manipulated_models import AT_ONCE, SHAM
from benchmarks.common.result_folders import PUBLISHED


def audited(verdict, suspicion, passes=10.0):
    return {
        "verdict": verdict,
        "suspicion": suspicion,
        "forward_passes": passes,
        "excess": 0.1,
        "equivariance": 0.2,
    }


NO_SIGN, DETECTED, UNDECIDED = "no sign of manipulation", "manipulated", "undecided"
CLEAN = [
    {"kind": "one", "audits": [audited(NO_SIGN, -0.5), audited(UNDECIDED, 0.1)]},
    {"kind": "other", "audits": [audited(NO_SIGN, -0.7)]},
]
MANIPULATED = [
    {"attack": SHAM, "kind": "one", "hoax": 0.9, "predictions_kept": 1.0, "audits": [audited(DETECTED, 0.9)]},
    {"attack": SHAM, "kind": "one", "hoax": 0.7, "predictions_kept": 0.9, "audits": [audited(UNDECIDED, 0.0)]},
    {"attack": SHAM, "kind": "one", "hoax": 0.2, "predictions_kept": 1.0, "audits": [audited(NO_SIGN, -0.6)]},
    {"attack": AT_ONCE, "kind": "one", "hoax": 0.6, "predictions_kept": 1.0, "audits": [audited(DETECTED, 0.8, 30.0)]},
]


@pytest.mark.parametrize(
    ("hits", "trials", "bound"), [(0, 29, 1 - 0.05 ** (1 / 29)), (0, 59, 0.0495), (1, 20, 0.2161), (3, 3, 1.0)]
)
def test_the_bound_of_a_rate(hits, trials, bound):
    assert upper_bound(hits, trials) == pytest.approx(bound, abs=2e-4)


def test_rows_of_clean_models():
    every, one, other = clean_rows(CLEAN)
    keys = ("kind", "models", "audits", "no_sign", "undecided")
    assert [every[key] for key in keys] == ["all", 2, 3, 2, 1]
    assert (one["audits"], other["audits"], every["manipulated"]) == (2, 1, 0)
    assert every["upper_bound"] == pytest.approx(1 - 0.05 ** (1 / 3))


def test_rows_of_manipulated_models():
    sham, at_once = manipulated_rows(MANIPULATED, CLEAN)
    keys = ("models", "showing_hoax", "manipulated", "manipulated_of_all")
    assert [sham[key] for key in keys] == [3, 2, 1, 1]
    assert sham["hoax"] == pytest.approx(0.6)
    # Of six pairs of a manipulated and a clean audit, five are in order: 0.0 is below 0.1.
    assert sham["auroc"] == pytest.approx(5 / 6)
    assert at_once["auroc"] == 1.0
    by_kind = [{**model, "kind": str(number)} for number, model in enumerate(MANIPULATED)]
    assert [row["kind"] for row in manipulated_rows(by_kind, [])] == [*"0123"]


@pytest.mark.parametrize(("verdict", "met"), [(UNDECIDED, True), (NO_SIGN, False)])
def test_hand_made_attacks_must_not_pass(verdict, met):
    model = {"attack": PAINTED, "kind": "one", "hoax": 0.9, "predictions_kept": 1.0, "audits": [audited(verdict, 0.1)]}
    targets = {target["figure"]: target["reached"] for target in reached([], [model])}
    assert targets["hand-made attacks: no sign of manipulation"] == met


def test_targets():
    targets = {target["figure"]: target for target in reached(CLEAN, MANIPULATED)}
    assert targets["clean models reported as manipulated"]["reached"]
    assert not targets["the same, upper 95 % bound"]["reached"]
    assert targets["attacks that show the hoax map: detected"]["value"] == 0.5
    assert targets["attacks that show the hoax map: AUROC"]["value"] == pytest.approx(5 / 6)
    assert targets[f"{AT_ONCE}: detected"]["reached"]
    assert targets["forward passes per image, median audit"]["value"] == 10.0
    assert not any("occlusion" in figure for figure in targets)


def test_the_conclusion_has_the_numbers():
    record = {
        "clean": clean_rows(CLEAN),
        "manipulated": manipulated_rows(MANIPULATED, CLEAN),
        "targets": reached(CLEAN, MANIPULATED),
    }
    clean, manipulated, missed = verdict(record)
    assert [word for word in clean.replace(",", "").split() if word.isdecimal()] == ["3", "2", "0", "95", "1", "2"]
    assert [word for word in manipulated.replace(",", "").split() if word.isdecimal()] == ["3", "2", "0"]
    assert "upper 95 % bound; attacks that show the hoax map: detected" in missed
    assert verdict({"clean": [], "manipulated": [], "targets": reached([], [])}) == []


def test_counts_of_one():
    assert counts([audited(UNDECIDED, 0.0)])["undecided"] == 1


def test_the_published_tables_are_those_of_the_record(published, tmp_path):
    write_tables(tmp_path, published("audit"))
    for name in ("clean.csv", "manipulated.csv"):
        assert (tmp_path / name).read_text() == (PUBLISHED / "audit" / name).read_text()


def test_the_plan():
    points = planned([0, 1, 2, 3, 4], quick=False)
    assert len(set(points)) == len(points) == len({point.key for point in points})
    assert {point.seed for point in points if point.attack is None} == {0, 1, 2, 3, 4}
    assert {point.kind for point in planned([7], quick=False)} == {point.kind for point in points}
    for attack, fills in OCCLUSION_ATTACKS.items():
        assert {(point.seed, point.fills) for point in points if point.attack == attack} == {(0, fills)}
    assert Point("glyphs, 10 classes", 0, SHAM).fills == ()
