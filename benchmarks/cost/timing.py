"""Measure times of actions that take turns, and ratios between them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Mapping
from statistics import median, quantiles
from time import perf_counter, process_time

import torch

from benchmarks.cost.methods import Action


def interleaved_seconds(
    actions: Mapping[str, Action], rounds: int, device: str, *, once: Collection[str] = ()
) -> dict[str, list[float]]:
    """Return the seconds of every action in every round. Actions take turns, so a busy machine slows all of them alike.

    With one thread on the CPU, seconds are CPU time, which leaves out the work of other programs. The actions in
    ``once`` take a single turn, after all rounds of the others.
    """
    clock = process_time if device == "cpu" and torch.get_num_threads() == 1 else perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in actions}

    def take_turn(name: str) -> float:
        _synchronize(device)
        start = clock()
        actions[name]()
        _synchronize(device)
        return clock() - start

    by_turns = [name for name in actions if name not in once]
    for turn in range(-1, rounds):
        for name in by_turns:
            took = take_turn(name)
            # The first round is a warm-up.
            if turn >= 0:
                seconds[name].append(took)
    for name in once:
        seconds[name].append(take_turn(name))
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Return the median and the quartiles."""
    lower, _, upper = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": median(values), "lower": lower, "upper": upper}


def ratio(seconds: Mapping[str, list[float]], name: str, base: str) -> dict[str, float]:
    """Return the median and quartiles of the ratio to ``base`` within each round in which both have had their turn."""
    return spread([a / b for a, b in zip(seconds[name], seconds[base], strict=False)])


def import_seconds(statement: str) -> float:
    """Return the seconds that a new interpreter takes for an import."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)
