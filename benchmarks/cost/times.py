"""How long everybody takes for a case, in a process of its own.

``python -m benchmarks.cost.times CASE ROUNDS THREADS`` is that process. What a method takes depends on what ran before
it: those that record the whole model pay for fresh memory, unless somebody else has left some warm.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.common.names import DIFF, GRAD_CAM
from benchmarks.cost.cases import Case
from benchmarks.cost.jobs import EARLIEST, FORWARD, is_slow
from benchmarks.cost.methods import action, available
from benchmarks.cost.processes import run_alone
from benchmarks.cost.timing import interleaved_seconds, ratio, spread

_BASES = {"to_grad_cam": GRAD_CAM, "to_forward": FORWARD, "to_earliest": EARLIEST, "to_torchcam": "torchcam"}


def times(case: Case, rounds: int, threads: int) -> dict[str, dict[str, Any]]:
    """By method, seconds and their ratios to others."""
    found: dict[str, dict[str, Any]] = json.loads(
        run_alone(__name__, json.dumps(asdict(case)), str(rounds), str(threads))
    )
    return found


def measured(case: Case, rounds: int) -> dict[str, dict[str, Any]]:
    """The same, in this process."""
    workload = case.build()
    actions = {name: action(name, workload) for name in _methods(case)}
    slow = [name for name in actions if is_slow(name, case.job)]
    seconds = interleaved_seconds(actions, rounds, case.device, once=slow)
    return {
        name: {
            "seconds": spread(seconds[name]),
            **{key: ratio(seconds, name, base) for key, base in _BASES.items() if base in actions},
        }
        for name in actions
    }


def _methods(case: Case) -> list[str]:
    """Who does it. Of early and middle layers only what recording less brings is asked."""
    methods = available(case.job, at_input=case.at_input)
    return methods if case.layer == "late" else [name for name in methods if name in (FORWARD, GRAD_CAM, DIFF)]


def main(arguments: list[str]) -> None:
    case, rounds, threads = arguments
    torch.set_num_threads(int(threads))
    fields: dict[str, Any] = json.loads(case)
    print(json.dumps(measured(Case(**fields), int(rounds))))


if __name__ == "__main__":
    main(sys.argv[1:])
