"""Times, memory and growth, one after the other."""

from __future__ import annotations

import argparse
from typing import Any

from tqdm import tqdm

from benchmarks.common.names import DIFF, GRAD_CAM
from benchmarks.common.options import warn
from benchmarks.common.peers import warn_of_missing_peers
from benchmarks.common.reporting import conclude, environment, show, write_json
from benchmarks.cost.cases import Case
from benchmarks.cost.figure import draw_cost
from benchmarks.cost.growth import growth
from benchmarks.cost.memory import peak_mib
from benchmarks.cost.methods import FORWARD, action, available
from benchmarks.cost.options import LARGE_BATCH, QUICK_MODEL
from benchmarks.cost.tables import targets_table, write_tables
from benchmarks.cost.targets import reached
from benchmarks.cost.timing import import_seconds, interleaved_seconds, ratio, spread
from benchmarks.cost.verdict import verdict


def run(args: argparse.Namespace) -> None:
    warn_of_missing_peers()
    if args.quick:
        warn(
            "--quick explains one image with a small model, where overheads weigh most; the targets are for a full run"
        )
    cases, in_memory = _quick_cases(args) if args.quick else _cases(args)
    rounds = min(args.rounds, 3) if args.quick else args.rounds
    record: dict[str, Any] = {"benchmark": "cost", "complete": False, **environment(args)}
    try:
        record["time"] = _times(cases, rounds)
        record["growth"] = growth(cases[0], rounds)
        record["memory"] = _memory(in_memory, args.threads)
        record["imports"] = _imports(1 if args.quick else 9)
        record["targets"] = reached(record)
        record["complete"] = not args.quick
    finally:
        # Also when something went wrong on the way.
        write_json(args.output / "cost.json", record)
    tables = write_tables(args.output, record, quick=args.quick)
    draw_cost(args.output / "cost.png", record)
    show(targets_table(record), quick=args.quick)
    conclude(args, verdict(record), ["cost.json", *tables, "cost.png"])


def _cases(args: argparse.Namespace) -> tuple[list[Case], list[tuple[Case, str]]]:
    """What is timed, and what of it is measured in memory, which needs a process for each."""
    fixed = {"device": str(args.device), "seed": args.seed, "size": args.size}
    cases = [Case(model, "late", batch, **fixed) for model in args.models for batch in (8, 1, LARGE_BATCH)]
    cases += [
        Case(model, at, batch, **fixed) for model in args.models for at in ("early", "middle") for batch in (1, 8)
    ]
    first = args.models[0]
    in_memory = [
        (case, name)
        for case in cases
        for name in available()
        if (case.layer == "late" and (case.batch == 8 or case.model == first))
        or (case.batch == 8 and case.model == first)
    ]
    return cases, in_memory


def _quick_cases(args: argparse.Namespace) -> tuple[list[Case], list[tuple[Case, str]]]:
    cases = [
        Case(QUICK_MODEL, layer, 1, args.size, device=str(args.device), seed=args.seed) for layer in ("late", "early")
    ]
    return cases, [(cases[0], name) for name in (FORWARD, GRAD_CAM, DIFF)]


def _times(cases: list[Case], rounds: int) -> list[dict[str, Any]]:
    found = []
    for case in tqdm(cases, desc="time", unit="case", leave=False):
        workload = case.build()
        actions = {name: action(name, workload) for name in available()}
        seconds = interleaved_seconds(actions, min(rounds, 3) if case.batch == LARGE_BATCH else rounds, case.device)
        found += [
            {
                **_described(case, name),
                "seconds": spread(seconds[name]),
                "to_grad_cam": ratio(seconds, name, GRAD_CAM),
                "to_forward": ratio(seconds, name, FORWARD),
            }
            for name in actions
        ]
    return found


def _memory(cases: list[tuple[Case, str]], threads: int) -> list[dict[str, Any]]:
    return [
        {**_described(case, name), "peak_mib": peak_mib(name, case, threads)}
        for case, name in tqdm(cases, desc="memory", unit="process", leave=False)
    ]


def _described(case: Case, method: str) -> dict[str, Any]:
    return {"model": case.model, "layer": case.layer, "batch": case.batch, "method": method}


def _imports(rounds: int) -> dict[str, Any]:
    statements = {"captum.attr": "import captum.attr", "captum_diffcam": "import captum_diffcam"}
    seconds: dict[str, list[float]] = {name: [] for name in statements}
    for _ in tqdm(range(rounds), desc="import", leave=False):
        for name, statement in statements.items():
            seconds[name].append(import_seconds(statement))
    return {
        **{name: spread(values) for name, values in seconds.items()},
        "ratio": ratio(seconds, *reversed(statements)),
    }
