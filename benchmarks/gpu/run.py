"""Run the checks, then measure time and memory, and write the record."""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

from tqdm import tqdm

from benchmarks.common.names import DIFF, GRAD_CAM
from benchmarks.common.options import UsageError
from benchmarks.common.peers import warn_of_missing_peers
from benchmarks.common.reporting import conclude, environment, show, table, write_csv, write_json
from benchmarks.cost.cases import Case
from benchmarks.cost.jobs import EXPLAIN, FORWARD, MAP, RIVALS, SMALL_MODEL
from benchmarks.cost.methods import action, available
from benchmarks.cost.processes import measure_allocated
from benchmarks.cost.timing import interleaved_seconds, ratio
from benchmarks.gpu.checks import checks

BATCHES = {"resnet50": 64, "convnext_tiny": 64, "vit_b_16": 32, SMALL_MODEL: 128}
"""Images at once, as many as keep a GPU busy. Every model is measured with a single image, too."""
CHECK_HEADER = ("check", "relative difference", "limit", "passed")
COST_HEADER = ("model", "batch", "job", "method", "ms", "to a forward pass", "to LayerGradCam", "peak MiB")


def run(args: argparse.Namespace) -> None:
    on_gpu = args.device.type == "cuda"
    if not on_gpu and not args.quick:
        raise UsageError("the benchmark of a GPU needs --device cuda, or --quick to see that it works")
    warn_of_missing_peers()
    sides = {"side": 64, "volume_side": 16} if args.quick else {"side": 128, "volume_side": 128}
    device, rounds = str(args.device), min(args.rounds, 2) if args.quick else args.rounds
    record: dict[str, Any] = {"benchmark": "gpu", "complete": False, **environment(args)}
    record["checks"] = [check.run() for check in tqdm(list(checks(device, **sides)), desc="checks", leave=False)]
    batches = {SMALL_MODEL: 2} if args.quick else BATCHES
    cases = [
        Case(model, batch=batch, job=job, device=device, seed=args.seed)
        for model, largest in batches.items()
        for batch in (largest, 1)
        for job in (MAP, EXPLAIN, RIVALS)
    ]
    record["cost"] = [row for case in tqdm(cases, desc="cost", unit="case", leave=False) for row in _cost(case, rounds)]
    record["complete"] = not args.quick
    write_json(args.output / "gpu.json", record)
    write_csv(args.output / "checks.csv", CHECK_HEADER, _check_rows(record), quick=args.quick)
    cost_rows = [[row[name] for name in ("model", "batch", "job", "method")] + _numbers(row) for row in record["cost"]]
    write_csv(args.output / "cost.csv", COST_HEADER, cost_rows, quick=args.quick)
    show(table(CHECK_HEADER, _check_rows(record), limits=(56, 24, 6, 6)), quick=args.quick)
    conclude(args, _verdict(record), ["gpu.json", "checks.csv", "cost.csv"])


def _cost(case: Case, rounds: int) -> list[dict[str, Any]]:
    """Return the time, its ratios within each round, and the peak of allocated memory, of every method."""
    workload = case.build()
    # pytorch-grad-cam moves every map to the CPU and enlarges it there, which is another job.
    names = [name for name in available(case.job) if name != "pytorch-grad-cam"]
    seconds = interleaved_seconds({name: action(name, workload) for name in names}, rounds, case.device)
    return [
        {
            **{"job": case.job, "model": case.model, "batch": case.batch, "method": name},
            "ms": 1000 * median(seconds[name]),
            "to_forward": ratio(seconds, name, FORWARD)["median"],
            "to_grad_cam": ratio(seconds, name, GRAD_CAM)["median"],
            "peak_mib": measure_allocated(case, name),
        }
        for name in names
    ]


def _check_rows(record: dict[str, Any]) -> list[list[Any]]:
    return [
        [
            row["check"],
            f"{row['difference']:.1e}" if "difference" in row else row["error"],
            f"{row['limit']:g}",
            "yes" if row["passed"] else "no",
        ]
        for row in record["checks"]
    ]


def _numbers(row: dict[str, Any]) -> list[str]:
    return [f"{row['ms']:.3f}", f"{row['to_forward']:.3f}", f"{row['to_grad_cam']:.3f}", f"{row['peak_mib']:.1f}"]


def _verdict(record: dict[str, Any]) -> list[str]:
    failed = [row["check"] for row in record["checks"] if not row["passed"]]
    passed = f"{len(record['checks']) - len(failed)} of {len(record['checks'])} checks pass"
    maps = [row for row in record["cost"] if (row["job"], row["method"]) == (MAP, DIFF)]
    large = [row["to_forward"] for row in maps if row["batch"] > 1]
    return [
        f"{passed}{': all but ' + ', '.join(failed) if failed else ''}.",
        f"With large batches a map takes {min(large):.2f} to {max(large):.2f} times a forward pass.",
    ]
