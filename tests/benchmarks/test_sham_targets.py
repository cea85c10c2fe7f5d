"""What the attacks were to reach."""

from __future__ import annotations

from benchmarks.sham import targets


def test_the_worst_attack_is_the_audits_target():
    found = {"honest": {}, "a": {"auroc_model": 1.0}, "b": {"auroc_model": 0.6}}
    record = {"setting": "s", "audit": found}
    assert targets._audit(record)["value"] == 0.6
    assert not targets._audit(record)["reached"]
