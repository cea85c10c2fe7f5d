"""How long something takes beside its rivals, and how much memory it needs in a process of its own.

``python -m benchmarks.measuring CONTENDER CASE`` prints the latter for one contender.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import torch

from benchmarks.contenders import Action, Case, action

MIB = 2**20
_PEAK = Path("/proc/self/clear_refs")
"""Linux keeps the peak of resident memory, and forgets it on request."""


def interleaved_seconds(actions: Mapping[str, Action], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of every action in every round. They take turns, so that a busy machine slows all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(-1, rounds):
        for name, do in actions.items():
            _synchronize(device)
            start = perf_counter()
            do()
            _synchronize(device)
            # The first round warms up.
            if turn >= 0:
                seconds[name].append(perf_counter() - start)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """The median and the quartiles."""
    lower, _, upper = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"median": median(values), "lower": lower, "upper": upper}


def ratio(seconds: Mapping[str, list[float]], name: str, base: str) -> dict[str, float]:
    """How many times as long it takes as the base, round by round."""
    return spread([a / b for a, b in zip(seconds[name], seconds[base], strict=True)])


def peak_mib(contender: str, case: Case, threads: int) -> float:
    """The peak of memory over that of the loaded model and its input, in MiB, in a process of its own.

    Not a number on systems that do not tell the peak of resident memory.
    """
    if case.device == "cpu" and not _PEAK.exists():
        return math.nan
    arguments = [sys.executable, "-m", "benchmarks.measuring", contender, json.dumps(asdict(case)), str(threads)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=Path(__file__).parent.parent)
    if done.returncode:
        raise RuntimeError(f"{contender} failed on {case}: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout.splitlines()[-1])


def import_seconds(statement: str) -> float:
    """Seconds that a fresh interpreter needs for an import."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / MIB


def _measure(contender: str, case: Case) -> float:
    do = action(contender, case.build())
    if case.device != "cpu":
        torch.cuda.reset_peak_memory_stats(case.device)
        before: float = torch.cuda.memory_allocated(case.device)
        do()
        return (torch.cuda.max_memory_allocated(case.device) - before) / MIB
    # Building the model had its peak too.
    _PEAK.write_text("5")
    resident = _status_mib("VmRSS")
    do()
    return _status_mib("VmHWM") - resident


def main(arguments: list[str]) -> None:
    contender, case, threads = arguments
    torch.set_num_threads(int(threads))
    fields: dict[str, Any] = json.loads(case)
    print(_measure(contender, Case(**fields)))


if __name__ == "__main__":
    main(sys.argv[1:])
