"""Run the benchmark of attacks: measure the points in pieces, as many as there is time for, and report them."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.attacks import owner, plan, reason, scratch
from benchmarks.attacks.figure import draw_frontier, draw_reason
from benchmarks.attacks.frontier import (
    BUDGETS,
    frontier_rows,
    rule_for_the_default,
    strongest_rows,
    with_usual_trained_part,
)
from benchmarks.attacks.measures import Laboratory
from benchmarks.attacks.options import FRONTIER, OWNER, SCRATCH, STUDIES
from benchmarks.attacks.plan import NO_ATTACK, Point
from benchmarks.attacks.reason import Case
from benchmarks.attacks.tables import print_tables, write_points
from benchmarks.attacks.targets import reached, verdict
from benchmarks.common.clean_models import Setting, own_model, settings
from benchmarks.common.cutouts import find_material
from benchmarks.common.fashion import find_fashion
from benchmarks.common.names import SETTINGS
from benchmarks.common.options import UsageError, check_own_model_options
from benchmarks.common.pieces import Work, in_pieces
from benchmarks.common.reporting import conclude, environment, rounded, write_json
from benchmarks.common.result_folders import refuse_to_publish
from benchmarks.common.stored import Stored


def run(args: argparse.Namespace) -> None:
    until = math.inf if args.minutes is None else time.monotonic() + 60 * args.minutes
    studies = args.studies or ((FRONTIER,) if args.model else STUDIES)
    if args.model and set(studies) != {FRONTIER}:
        raise UsageError(f"--studies {OWNER} and {SCRATCH} have models of their own; use --model with {FRONTIER}")
    if args.measured and (len(studies) > 1 or studies[0] == FRONTIER):
        raise UsageError(f"--measured needs one study, --studies {OWNER} or --studies {SCRATCH}")
    stored = Stored(args.models)
    chosen = chosen_settings(args, stored) if FRONTIER in studies else {}
    missing = [] if args.model or FRONTIER not in studies else [name for name in SETTINGS if name not in chosen]
    refuse_to_publish(args, missing)
    seeds = list(range(args.seed, args.seed + (1 if args.quick else args.seeds)))
    with in_pieces(args, settings=list(chosen)) as work:
        if FRONTIER in studies:
            _run_frontier(args, work, chosen, stored, seeds, missing, until)
        fashion_folder = None if args.model else find_fashion(args.fashion)
        if SCRATCH in studies:
            scratch.run(args, work, fashion_folder, stored, seeds, until)
        if OWNER in studies:
            material = find_material(args.cutouts, args.backgrounds)
            laboratory = owner.Laboratory(fashion_folder, material, stored, args.quick)
            owner.run(args, work, laboratory, seeds, until)


def _run_frontier(
    args: argparse.Namespace,
    work: Work,
    chosen: dict[str, Setting],
    stored: Stored,
    seeds: list[int],
    missing: Sequence[str],
    until: float,
) -> None:
    points = plan.planned(chosen, seeds, args.quick)
    cases = [] if args.model else reason.planned(seeds, args.quick)
    pieces: list[Point | Case] = [*points, *cases]
    laboratory = Laboratory(chosen, stored, args.quick, args.device)

    def measure(piece: Point | Case) -> dict[str, Any]:
        if isinstance(piece, Case):
            return reason.measure(piece, stored, args.quick)
        return laboratory.measure(piece)

    results = work.run_pieces({piece.key: piece for piece in pieces}, measure, unit="point", until=until)
    if work.reports:
        report(args, seeds, [results[key] for key in results], list(work.left), missing)


def chosen_settings(args: argparse.Namespace, stored: Stored) -> dict[str, Setting]:
    """Return the settings that the options choose."""
    check_own_model_options(args.model, weights=args.weights, layer=args.layer, data=args.data)
    if args.model:
        if args.data is None:
            raise UsageError("--model needs --data DIR, a folder with a folder of images for each class")
        setting = own_model(args.model, args.weights, args.layer, args.data)
        return {setting.name: setting}
    return settings(
        stored, cutouts_folder=args.cutouts, backgrounds_folder=args.backgrounds, fashion_folder=args.fashion
    )


def report(
    args: argparse.Namespace,
    seeds: Sequence[int],
    results: Sequence[dict[str, Any]],
    left: Sequence[str],
    missing: Sequence[str] = (),
) -> None:
    """Write the numbers, tables and figures of what was measured, and print the conclusion."""
    points = [result for result in results if "attack" in result]
    reasons = reason.rows_within_budget([result for result in results if "attack" not in result], BUDGETS[1])
    rows = frontier_rows(points)
    clean = [point for point in with_usual_trained_part(points) if point["attack"] == NO_ATTACK]
    record: dict[str, Any] = rounded(
        {
            "benchmark": "attacks",
            "complete": not (args.quick or left or missing),
            **environment(args),
            "seeds": list(seeds),
            "left_out": [*missing, *left],
            "measured": len(results),
            "planned": len(results) + len(left),
            "rule": rule_for_the_default(points),
            "targets": reached(rows, clean),
            "frontier": rows,
            "strongest": strongest_rows(points),
            "reason": reasons,
            "points": points,
        }
    )
    write_json(args.output / "attacks.json", record)
    write_points(args.output / "points.csv", record["points"])
    draw_frontier(args.output / "frontier.png", record["points"])
    if reasons:
        draw_reason(args.output / "reason.png", record["reason"])
    print_tables(record)
    if left:
        print(f"\nThere was no time for {len(left)} of {len(results) + len(left)} points; --resume continues with them")
    files = ["attacks.json", "points.csv", "frontier.png", *(["reason.png"] if reasons else [])]
    conclude(args, verdict(record), files, complete=bool(record["complete"]))
