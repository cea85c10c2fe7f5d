"""Time and peak memory of a map, beside a bare forward, LayerGradCam and two other libraries, and how they grow.

Contenders take turns within one run; a time is the median over rounds, a ratio the median over rounds of the ratio
within the round. Memory is the peak over that of the loaded model and its input, of each contender in a process of its
own (on the CPU of resident memory, where Linux tells it). Models have random weights: cost does not depend on them.
Writes cost.json with every number, targets.csv and cost.png. The peers, pytorch-grad-cam and torchcam, come with the
extra "peers".
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from statistics import geometric_mean, median
from typing import Any

from tqdm import tqdm

from benchmarks.contenders import DIFF, FORWARD, GRAD_CAM, LAYERS, PEERS, Case, action, available
from benchmarks.cost_figure import draw_cost
from benchmarks.growth import growth
from benchmarks.measuring import import_seconds, interleaved_seconds, peak_mib, ratio, spread
from benchmarks.options import positive, warn
from benchmarks.reporting import environment, table, write_csv, write_json

QUICK_MODEL = "mobilenet_v3_small"
LARGE_BATCH = 32
TARGETS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "peak memory, resnet50, batch 32, late layer, to a bare forward": ("<= 1.05", lambda value: value <= 1.05),
    "peak memory of LayerGradCam there, to ours": (">= 6", lambda value: value >= 6),
    "time, geometric mean over models, late layer, to LayerGradCam": ("<= 0.92", lambda value: value <= 0.92),
    "time, geometric mean over models, late layer, to a bare forward": ("<= 1.08", lambda value: value <= 1.08),
    "ten rivals, to one map": ("<= 1.25", lambda value: value <= 1.25),
    "contrast over 1000 classes, to one rival": ("<= 1.02", lambda value: value <= 1.02),
    "importing captum_diffcam, to importing captum.attr": ("<= 1.05", lambda value: value <= 1.05),
}
"""What the library is to reach."""
TARGET_HEADER = ("figure", "target", "measured", "reached")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", choices=LAYERS, default=list(LAYERS), help="models of torchvision")
    parser.add_argument(
        "--rounds", type=positive, default=5, help=f"turns (default 5; batches of {LARGE_BATCH}: 3 at most)"
    )
    parser.add_argument("--size", type=positive, default=224, help="width and height of the images (default 224)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_MODEL} alone with 3 rounds, under a minute")


def run(args: argparse.Namespace) -> None:
    for peer in PEERS:
        if peer not in available():
            warn(f"{peer} cannot be imported (extra 'peers') and is left out")
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
        record["targets"] = _reached(record)
        record["complete"] = True
    finally:
        # Also when something went wrong on the way.
        write_json(args.output / "cost.json", record)
    _print(record)
    write_csv(
        args.output / "targets.csv", TARGET_HEADER, [[f, t, f"{v:.2f}", r] for f, t, v, r in _target_rows(record)]
    )
    draw_cost(args.output / "cost.png", record)
    print(f"\nWritten to {args.output}: cost.json, targets.csv, cost.png")


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
        subject = case.build()
        actions = {name: action(name, subject) for name in available()}
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


def _reached(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Every figure of :data:`TARGETS` that this run has measured."""
    late = [row for row in record["time"] if row["layer"] == "late" and row["method"] == DIFF]
    memory = {row["method"]: row["peak_mib"] for row in record["memory"] if _is_figure(row)}
    grown = {(row["grows"], row["to"], row["method"]): row["to_base"]["median"] for row in record["growth"]}
    values = {
        "time, geometric mean over models, late layer, to LayerGradCam": _mean(late, "to_grad_cam"),
        "time, geometric mean over models, late layer, to a bare forward": _mean(late, "to_forward"),
        "ten rivals, to one map": grown["rivals", 10, f"{DIFF}, 10 rivals"],
        "contrast over 1000 classes, to one rival": grown["contrast", 999, "999 rivals"],
        "importing captum_diffcam, to importing captum.attr": record["imports"]["ratio"]["median"],
    }
    if memory:
        to_forward, of_grad_cam = memory[DIFF] / memory[FORWARD], memory[GRAD_CAM] / memory[DIFF]
        values["peak memory, resnet50, batch 32, late layer, to a bare forward"] = to_forward
        values["peak memory of LayerGradCam there, to ours"] = of_grad_cam
    return [
        {"figure": figure, "target": target, "value": values[figure], "reached": holds(values[figure])}
        for figure, (target, holds) in TARGETS.items()
        if figure in values
    ]


def _is_figure(row: dict[str, Any]) -> bool:
    return (row["model"], row["layer"], row["batch"]) == ("resnet50", "late", LARGE_BATCH)


def _mean(rows: list[dict[str, Any]], measure: str) -> float:
    """The geometric mean over models of the median over batches."""
    models = {row["model"] for row in rows}
    return geometric_mean(median(row[measure]["median"] for row in rows if row["model"] == model) for model in models)


def _target_rows(record: dict[str, Any]) -> list[list[Any]]:
    return [
        [row["figure"], row["target"], row["value"], "yes" if row["reached"] else "no"] for row in record["targets"]
    ]


def _print(record: dict[str, Any]) -> None:
    memory = {(row["model"], row["layer"], row["batch"], row["method"]): row["peak_mib"] for row in record["memory"]}
    rows: list[list[str | float]] = []
    for row in record["time"]:
        key = (row["model"], row["layer"], row["batch"], row["method"])
        times = (1000 * row["seconds"]["median"], row["to_grad_cam"]["median"], row["to_forward"]["median"])
        rows.append([row["model"], row["layer"], str(row["batch"]), row["method"], *times, memory.get(key, math.nan)])
    header = ["model", "layer", "batch", "method", "ms", "x LayerGradCam", "x forward", "peak MiB"]
    print(f"\n{table(header, rows, limits=(18, 6, 5, 16, 0, 0, 0, 0))}")

    rows = [
        [r["grows"], str(r["to"]), r["method"], 1000 * r["seconds"]["median"], r["to_base"]["median"], r["base"]]
        for r in record["growth"]
    ]
    print(f"\n{table(['grows', 'to', 'method', 'ms', 'ratio', 'to that of'], rows, limits=(8, 5, 24, 0, 0, 14))}")

    rows = _target_rows(record)
    print(f"\n{table(TARGET_HEADER, rows, limits=(66, 8, 0, 7))}")
