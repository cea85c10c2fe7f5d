"""How much memory a map needs, in a process of its own.

``python -m benchmarks.cost.memory METHOD CASE THREADS`` is that process.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.cost.cases import Case
from benchmarks.cost.methods import action
from benchmarks.cost.processes import run_alone

MIB = 2**20
_PEAK = Path("/proc/self/clear_refs")
"""Linux keeps the peak of resident memory, and forgets it on request."""


def peak_mib(method: str, case: Case, threads: int) -> float:
    """The peak of memory over that of the loaded model and its input, in MiB, in a process of its own.

    Not a number on systems that do not tell the peak of resident memory.
    """
    if case.device == "cpu" and not _PEAK.exists():
        return math.nan
    return float(run_alone(__name__, method, json.dumps(asdict(case)), str(threads)))


def _measure(method: str, case: Case) -> float:
    do = action(method, case.build())
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


def _status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / MIB


def main(arguments: list[str]) -> None:
    method, case, threads = arguments
    torch.set_num_threads(int(threads))
    fields: dict[str, Any] = json.loads(case)
    print(_measure(method, Case(**fields)))


if __name__ == "__main__":
    main(sys.argv[1:])
