"""Times, memory and growth, one after the other."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from benchmarks.common.names import DIFF, GRAD_CAM, LITE0
from benchmarks.common.options import warn
from benchmarks.common.peers import warn_of_missing_peers
from benchmarks.common.reporting import conclude, environment, show, write_json
from benchmarks.cost.cases import Case
from benchmarks.cost.figure import draw_cost
from benchmarks.cost.growth import growth
from benchmarks.cost.jobs import EXPLAIN, FORWARD, LAYERS, MAP, RIVALS
from benchmarks.cost.layers import LAYERS as LAYERS_OF
from benchmarks.cost.memory import peak_mib
from benchmarks.cost.options import BATCH, BATCHES, GROWING_BATCH, LARGE_BATCH, QUICK_MODEL
from benchmarks.cost.tables import targets_table, write_tables
from benchmarks.cost.targets import of_single_images, reached
from benchmarks.cost.times import times
from benchmarks.cost.timing import import_seconds, ratio, spread
from benchmarks.cost.verdict import verdict

BEHIND = ("vit_b_16",)
"""A model with much behind its last layer, which is recorded."""


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
        record["time"] = []
        for case in tqdm(cases, desc="time", unit="case", leave=False):
            record["time"] += _times(case, rounds, args.threads)
        record["single_images"] = of_single_images(record["time"])
        record["growth"] = growth(replace(cases[0], batch=min(cases[0].batch, GROWING_BATCH)), rounds)
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

    def case(model: str, layer: str = "late", batch: int | None = None, job: str = MAP) -> Case:
        batch = batch or BATCHES.get(model, BATCH)
        return Case(model, layer, batch, device=str(args.device), seed=args.seed, size=args.size, job=job)

    models = [model for model in args.models if "middle" in LAYERS_OF[model]]
    first = args.models[0]
    cases = [case(model, batch=batch) for model in args.models for batch in (None, 1)]
    cases += [case(model, layer, 1) for model in models for layer in ("early", "middle")]
    cases += [case(model, job=job) for model in models for job in (EXPLAIN, RIVALS, LAYERS)]
    in_memory = [case(first, batch=LARGE_BATCH, job=job) for job in (MAP, EXPLAIN)]
    in_memory += [case(model) for model in (*BEHIND, LITE0) if model in args.models]
    return cases, [(each, name) for each in in_memory for name in (FORWARD, GRAD_CAM, DIFF)]


def _quick_cases(args: argparse.Namespace) -> tuple[list[Case], list[tuple[Case, str]]]:
    fixed = {"device": str(args.device), "seed": args.seed, "size": args.size}
    cases = [Case(QUICK_MODEL, layer, 1, **fixed) for layer in ("late", "early")]
    cases += [Case(QUICK_MODEL, "late", 1, **fixed, job=job) for job in (EXPLAIN, RIVALS, LAYERS)]
    return cases, [(cases[0], name) for name in (FORWARD, GRAD_CAM, DIFF)]


def _times(case: Case, rounds: int, threads: int) -> list[dict[str, Any]]:
    return [{**_described(case, name), **found} for name, found in times(case, rounds, threads).items()]


def _memory(cases: list[tuple[Case, str]], threads: int) -> list[dict[str, Any]]:
    return [
        {**_described(case, name), "peak_mib": peak_mib(name, case, threads)}
        for case, name in tqdm(cases, desc="memory", unit="process", leave=False)
    ]


def _described(case: Case, method: str) -> dict[str, Any]:
    layer = "all" if case.job == LAYERS else case.layer
    return {"job": case.job, "model": case.model, "layer": layer, "batch": case.batch, "method": method}


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
