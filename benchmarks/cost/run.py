"""Measure times, growth and memory, one after the other."""

from __future__ import annotations

import argparse
from dataclasses import replace
from statistics import median
from typing import Any

from tqdm import tqdm

from benchmarks.common.names import DIFF, GRAD_CAM, LITE0
from benchmarks.common.options import warn
from benchmarks.common.peers import warn_of_missing_peers
from benchmarks.common.reporting import conclude, environment, show, write_json
from benchmarks.cost.cases import Case
from benchmarks.cost.figure import draw_cost
from benchmarks.cost.growth import growth
from benchmarks.cost.jobs import EXPLAIN, FORWARD, LAYERS, MAP, MODEL_LAYERS, RIVALS, SMALL_MODEL
from benchmarks.cost.options import BATCH, BATCHES, GROWING_BATCH, LARGE_BATCH, PROCESSES, SMALL_ROUNDS, SMALL_SIZE
from benchmarks.cost.processes import allocated_mib, peak_mib, times
from benchmarks.cost.tables import targets_table, write_tables
from benchmarks.cost.targets import figures_of_single_images, reached, verdict
from benchmarks.cost.timing import import_seconds, ratio, spread

BEHIND = ("vit_b_16",)
"""A model with a whole block behind its last layer, which has to be recorded."""


def run(args: argparse.Namespace) -> None:
    warn_of_missing_peers()
    if args.quick:
        warn(
            "--quick explains single images with a small model, where a call costs most; the targets are for full runs"
        )
    cases, in_memory = _quick_cases(args) if args.quick else _cases(args)
    rounds = 1 if args.quick else args.rounds
    record: dict[str, Any] = {"benchmark": "cost", "complete": False, **environment(args)}
    try:
        record["time"] = []
        for case in tqdm(cases, desc="time", unit="case", leave=False):
            record["time"] += _times(case, rounds, args.threads)
        # The target is for one thread.
        small = Case(SMALL_MODEL, batch=1, size=SMALL_SIZE, device=str(args.device), seed=args.seed)
        record["small_image"] = _times(small, rounds if args.quick else SMALL_ROUNDS, threads=1)
        record["single_images"] = figures_of_single_images(record["time"])
        record["growth"] = growth(replace(cases[0], batch=min(cases[0].batch, GROWING_BATCH)), rounds)
        record["memory"] = _memory(in_memory, args.threads, 1 if args.quick else PROCESSES)
        record["imports"] = _imports(1 if args.quick else 9)
        record["targets"] = reached(record)
        record["complete"] = not args.quick
    finally:
        # Keep what was measured before an error.
        write_json(args.output / "cost.json", record)
    tables = write_tables(args.output, record, quick=args.quick)
    draw_cost(args.output / "cost.png", record)
    show(targets_table(record), quick=args.quick)
    conclude(args, verdict(record), ["cost.json", *tables, "cost.png"])


def _cases(args: argparse.Namespace) -> tuple[list[Case], list[tuple[Case, str]]]:
    """Return the cases to time, and the cases and methods whose memory is measured."""

    def case(model: str, layer: str = "late", batch: int | None = None, job: str = MAP) -> Case:
        batch = batch or BATCHES.get(model, BATCH)
        return Case(model, layer, batch, device=str(args.device), seed=args.seed, size=args.size, job=job)

    models = [model for model in args.models if "middle" in MODEL_LAYERS[model]]
    first = args.models[0]
    cases = [case(model, batch=batch) for model in args.models for batch in (None, 1)]
    cases += [case(model, layer, 1) for model in models for layer in ("early", "middle")]
    cases += [case(model, job=job) for model in models for job in (EXPLAIN, RIVALS, LAYERS)]
    in_memory = [case(first, batch=LARGE_BATCH, job=job) for job in (MAP, EXPLAIN)]
    in_memory += [case(model) for model in (*BEHIND, LITE0) if model in args.models]
    return cases, [(memory_case, name) for memory_case in in_memory for name in (FORWARD, GRAD_CAM, DIFF)]


def _quick_cases(args: argparse.Namespace) -> tuple[list[Case], list[tuple[Case, str]]]:
    fixed = {"device": str(args.device), "seed": args.seed, "size": args.size}
    cases = [Case(SMALL_MODEL, layer, 1, **fixed) for layer in ("late", "early")]
    cases += [Case(SMALL_MODEL, "late", 1, **fixed, job=job) for job in (EXPLAIN, RIVALS, LAYERS)]
    return cases, [(cases[0], name) for name in (FORWARD, GRAD_CAM, DIFF)]


def _times(case: Case, rounds: int, threads: int) -> list[dict[str, Any]]:
    return [{**_described(case, name), **row} for name, row in times(case, rounds, threads).items()]


def _memory(cases: list[tuple[Case, str]], threads: int, processes: int) -> list[dict[str, Any]]:
    """Return the peaks of each case and method: resident, a median over processes that take turns, and allocated."""
    peaks: list[list[float]] = [[] for _ in cases]
    with tqdm(total=processes * len(cases), desc="memory", unit="process", leave=False) as bar:
        for _ in range(processes):
            for values, (case, name) in zip(peaks, cases, strict=True):
                values.append(peak_mib(name, case, threads))
                bar.update()
    return [
        {
            **_described(case, name),
            "peak_mib": median(values),
            "peaks_mib": values,
            "allocated_mib": allocated_mib(name, case, threads),
        }
        for values, (case, name) in zip(peaks, cases, strict=True)
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
