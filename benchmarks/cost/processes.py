"""Measure the time or the memory of a case in a process of its own.

``python -m benchmarks.cost.processes time CASE ROUNDS THREADS``, ``memory CASE METHOD THREADS`` and
``allocations CASE METHOD THREADS`` are that process.
What a method takes depends on what ran before it: a method that records the whole model is faster where another one has
left memory that is already mapped.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.common.names import DIFF, GRAD_CAM
from benchmarks.cost.cases import Case
from benchmarks.cost.jobs import EARLIEST, FORWARD, is_slow
from benchmarks.cost.methods import action, available
from benchmarks.cost.timing import interleaved_seconds, ratio, spread

_BASES = {"to_grad_cam": GRAD_CAM, "to_forward": FORWARD, "to_earliest": EARLIEST, "to_torchcam": "torchcam"}
_MIB = 2**20
_PEAK = Path("/proc/self/clear_refs")
"""Linux resets the peak of resident memory when a process writes to this file."""


def times(case: Case, rounds: int, threads: int) -> dict[str, dict[str, Any]]:
    """Return seconds and their ratios to other methods, by method."""
    by_method: dict[str, dict[str, Any]] = json.loads(_run_alone("time", case, str(rounds), str(threads)))
    return by_method


def peak_mib(method: str, case: Case, threads: int) -> float:
    """Return the peak of memory above that of the loaded model and its input, in MiB.

    NaN on systems that do not report the peak of resident memory.
    """
    if case.device == "cpu" and not _PEAK.exists():
        return math.nan
    return float(_run_alone("memory", case, method, str(threads)))


def allocated_mib(method: str, case: Case, threads: int) -> float:
    """Return the peak of what PyTorch has allocated, above the loaded model and its input, in MiB.

    Unlike resident memory it is the same in every process, because it leaves out what the C library keeps for later.
    """
    return float(_run_alone("allocations", case, method, str(threads)))


def measure_times(case: Case, rounds: int) -> dict[str, dict[str, Any]]:
    """Return what :func:`times` returns, measured in this process."""
    workload = case.build()
    methods = available(case.job, at_input=case.at_input)
    if case.layer != "late":
        # Earlier layers show what recording less of the model saves, and nothing else.
        methods = [name for name in methods if name in (FORWARD, GRAD_CAM, DIFF)]
    actions = {name: action(name, workload) for name in methods}
    slow = [name for name in actions if is_slow(name, case.job)]
    seconds = interleaved_seconds(actions, rounds, case.device, once=slow)
    return {
        name: {
            "seconds": spread(seconds[name]),
            **{key: ratio(seconds, name, base) for key, base in _BASES.items() if base in actions},
        }
        for name in actions
    }


def measure_peak(case: Case, method: str) -> float:
    """Return what :func:`peak_mib` returns, measured in this process."""
    do = action(method, case.build())
    if case.device != "cpu":
        torch.cuda.reset_peak_memory_stats(case.device)
        before: float = torch.cuda.memory_allocated(case.device)
        do()
        return (torch.cuda.max_memory_allocated(case.device) - before) / _MIB
    # Building the model had a peak of its own.
    _PEAK.write_text("5")
    resident = _status_mib("VmRSS")
    do()
    return _status_mib("VmHWM") - resident


def measure_allocated(case: Case, method: str) -> float:
    """Return what :func:`allocated_mib` returns, measured in this process."""
    if case.device != "cpu":
        return measure_peak(case, method)
    do = action(method, case.build())
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        do()
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiled.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    return float(max(accumulate(size for _, size in changes))) / _MIB


def _status_mib(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / _MIB


def _run_alone(measure: str, case: Case, *arguments: str) -> str:
    """Return the last line that a new process prints.

    Raises:
        RuntimeError: the process failed; the message ends with the last line of its error.
    """
    command = [sys.executable, "-m", __name__, measure, json.dumps(asdict(case)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise RuntimeError(f"measuring the {measure} of {case} ({', '.join(arguments)}) failed: {reason[0]}")
    return done.stdout.splitlines()[-1]


def main(measure: str, case: str, argument: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    fields: dict[str, Any] = json.loads(case)
    if measure == "time":
        print(json.dumps(measure_times(Case(**fields), int(argument))))
    else:
        peak = measure_peak if measure == "memory" else measure_allocated
        print(peak(Case(**fields), argument))


if __name__ == "__main__":
    main(*sys.argv[1:])
