"""The methods that are attacked or measured."""

from __future__ import annotations

from benchmarks.sham.experiment import AUDITED
from benchmarks.sham.methods import measured_methods


def test_names_of_methods():
    names = list(measured_methods({}))
    assert len(names) == 14
    assert set(AUDITED) <= set(names)
