"""From the options to the results: points in pieces, as many as there is time for."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.attacks import points, why
from benchmarks.attacks.experiment import Laboratory
from benchmarks.attacks.figure import draw_frontier, draw_reason
from benchmarks.attacks.frontier import (
    BUDGETS,
    at_equal_damage,
    at_the_strongest_weight,
    of_usual_reach,
    rule_for_the_default,
)
from benchmarks.attacks.points import HONEST, Point
from benchmarks.attacks.tables import print_tables, write_points
from benchmarks.attacks.targets import reached, verdict
from benchmarks.attacks.why import Case
from benchmarks.common.names import SETTINGS
from benchmarks.common.options import UsageError
from benchmarks.common.pieces import in_pieces
from benchmarks.common.reporting import conclude, environment, write_json
from benchmarks.common.result_folders import refuse_to_publish
from benchmarks.common.stored import Stored
from benchmarks.common.victims import Setting, own, settings


def run(args: argparse.Namespace) -> None:
    until = math.inf if args.minutes is None else time.monotonic() + 60 * args.minutes
    stored = Stored(args.models)
    chosen = chosen_settings(args, stored)
    missing = [] if args.model else [name for name in SETTINGS if name not in chosen]
    refuse_to_publish(args, missing)
    seeds = list(range(args.seed, args.seed + (1 if args.quick else args.seeds)))
    todo = points.planned(chosen, seeds, args.quick)
    cases = [] if args.model else why.planned(seeds, args.quick)
    pieces: list[Point | Case] = [*todo, *cases]
    with in_pieces(args, settings=list(chosen)) as work:
        laboratory = Laboratory(chosen, stored, args.quick, args.device)

        def do(piece: Point | Case) -> dict[str, Any]:
            if isinstance(piece, Case):
                return why.measure(piece, stored, args.quick)
            return laboratory.measure(piece)

        found = work.run_pieces({piece.key: piece for piece in pieces}, do, unit="point", until=until)
        if work.speaks:
            report(args, seeds, [found[key] for key in found], list(work.left), missing)


def chosen_settings(args: argparse.Namespace, stored: Stored) -> dict[str, Setting]:
    """The settings that the options ask for."""
    if args.model:
        if args.data is None:
            raise UsageError("--model: needs --data, a folder with a folder of images for each class")
        setting = own(args.model, args.weights, args.layer, args.data)
        return {setting.name: setting}
    if args.weights or args.layer or args.data:
        raise UsageError("--weights, --layer, --data: are those of --model, which is missing")
    return settings(stored, cutouts_=args.cutouts, backgrounds=args.backgrounds, fashion_=args.fashion)


def report(
    args: argparse.Namespace,
    seeds: Sequence[int],
    found: Sequence[dict[str, Any]],
    left: Sequence[str],
    missing: Sequence[str] = (),
) -> None:
    """Numbers, tables and figures of what was measured."""
    measured = [each for each in found if "attack" in each]
    reasons = why.rows_at_equal_damage([each for each in found if "attack" not in each], BUDGETS[1])
    rows = at_equal_damage(measured)
    record = {
        "benchmark": "attacks",
        "complete": not (args.quick or left or missing),
        **environment(args),
        "seeds": list(seeds),
        "left_out": [*missing, *left],
        "measured": len(found),
        "planned": len(found) + len(left),
        "rule": rule_for_the_default(measured),
        "targets": reached(rows, [each for each in of_usual_reach(measured) if each["attack"] == HONEST]),
        "frontier": rows,
        "strongest": at_the_strongest_weight(measured),
        "reason": reasons,
        "points": measured,
    }
    write_json(args.output / "attacks.json", record)
    write_points(args.output / "points.csv", measured)
    draw_frontier(args.output / "frontier.png", measured)
    if reasons:
        draw_reason(args.output / "reason.png", reasons)
    print_tables(record)
    if left:
        print(f"\nNo time was left for {len(left)} of {len(found) + len(left)} points; --resume goes on with them")
    files = ["attacks.json", "points.csv", "frontier.png", *(["reason.png"] if reasons else [])]
    conclude(args, verdict(record), files, complete=bool(record["complete"]))
