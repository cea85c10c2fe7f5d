"""How well the audit detects attacks, by hand."""

from __future__ import annotations

import pytest
import torch

from benchmarks.sham.attacks import CONTROL
from benchmarks.sham.detection import audited, separating_threshold
from benchmarks.sham.experiment import HONEST, Outcome


def audited_outcome(**scores):
    attacks = {name: {"scores": value, "disagreement": value[::-1]} for name, value in scores.items()}
    return Outcome(attacks, torch.zeros(3, 2, 2), torch.zeros(2, 2), {})


def test_the_audit_by_hand():
    low, high = [0.1] * 32 + [0.3] * 32, [0.9] * 32 + [0.2] * 32
    outcomes = [audited_outcome(**{HONEST: low, CONTROL: low, "lie": high})]
    found = audited(outcomes, threshold=0.25)
    assert found[HONEST] == {"score": pytest.approx(0.2), "called_manipulated": 0.5, "batches": 2}
    # Of 2 x 4 pairs of batches the attacked one is higher in 4 + 2.
    assert found["lie"]["auroc_model"] == 0.75
    assert found["lie"]["auroc_image"] == 0.75
    assert found["lie"]["called_manipulated"] == 0.5
    assert separating_threshold(outcomes) == (pytest.approx(0.3), pytest.approx(0.2))


def test_a_rest_that_fills_no_batch_is_left_out():
    assert (
        audited([audited_outcome(**{HONEST: [0.0] * 40, CONTROL: [0.0] * 40, "lie": [1.0] * 40})], 0.5)["lie"][
            "batches"
        ]
        == 1
    )
    assert (
        audited([audited_outcome(**{HONEST: [0.0] * 8, CONTROL: [0.0] * 8, "lie": [1.0] * 8})], 0.5)["lie"]["batches"]
        == 1
    )
