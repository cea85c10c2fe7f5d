"""Times: who takes turns, and what is made of them."""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from benchmarks.cost import timing


def test_actions_take_turns(monkeypatch):
    clock = itertools.count()
    for name in ("perf_counter", "process_time"):
        monkeypatch.setattr(timing, name, lambda: float(next(clock)))
    turns = []
    actions = {"a": lambda: turns.append("a"), "b": lambda: (turns.append("b"), next(clock))}
    seconds = timing.interleaved_seconds(actions, 2, "cpu")
    assert turns == ["a", "b"] * 3
    assert seconds == {"a": [1.0, 1.0], "b": [2.0, 2.0]}


def test_who_takes_one_turn_alone():
    turns = []
    actions = {name: partial(turns.append, name) for name in "ab"}
    seconds = timing.interleaved_seconds(actions, 2, "cpu", once=["b"])
    assert turns == ["a", "a", "a", "b"]
    assert len(seconds["b"]) == 1
    assert timing.ratio({"a": [1.0, 7.0], "b": [3.0]}, "a", "b")["median"] == pytest.approx(1 / 3)


def test_ratios_are_taken_within_rounds():
    """A machine that turns ten times slower in between does not matter."""
    seconds = {"a": [1.0, 10.0, 3.0], "b": [2.0, 20.0, 6.0]}
    assert timing.ratio(seconds, "b", "a") == {"median": 2.0, "lower": 2.0, "upper": 2.0}
    assert timing.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "lower": 2.0, "upper": 4.0}
    assert timing.spread([7.0]) == {"median": 7.0, "lower": 7.0, "upper": 7.0}
