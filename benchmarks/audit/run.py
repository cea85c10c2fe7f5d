"""Run the benchmark of the audit: audit models in pieces, as many as there is time for, or audit the user's model."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.audit.audited_models import BATCH, AuditedModels
from benchmarks.audit.figure import draw_audits
from benchmarks.audit.plan import SIMULATED, planned
from benchmarks.audit.tables import Row, clean_rows, manipulated_rows, print_tables, write_tables
from benchmarks.audit.targets import reached, verdict
from benchmarks.common.images import find_images, load_required_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import blank_input, load_classifier, warn_of_random_weights
from benchmarks.common.options import UsageError, check_own_model_options, warn
from benchmarks.common.pieces import in_pieces
from benchmarks.common.reporting import conclude, environment, rounded, show, write_json
from benchmarks.common.result_folders import refuse_to_publish
from captum_diffcam.audit import audit
from captum_diffcam.audit.report import MIN_IMAGES

CONSTANTS_SET_ON = (
    "classifiers of Fashion-MNIST of seeds 100 and 101: pooled, with a shortcut and flattened, clean, and manipulated "
    "by hand or by training. None of them is reported."
)
"""The models that set the limits of verdicts, and the number and size of windows."""


def run(args: argparse.Namespace) -> None:
    check_own_model_options(args.model, weights=args.weights, layer=args.layer, images=args.images)
    if args.model:
        audit_own_model(args)
        return
    until = math.inf if args.minutes is None else time.monotonic() + 60 * args.minutes
    models = AuditedModels(args.quick, cutouts=args.cutouts, backgrounds=args.backgrounds, fashion=args.fashion)
    seeds = list(range(args.seed, args.seed + (1 if args.quick else args.seeds)))
    wanted = planned(seeds, args.quick)
    missing = [kind for kind in dict.fromkeys(point.kind for point in wanted) if not models.has(kind)]
    for kind in missing:
        warn(f"{kind}: left out, because its data or weights are not installed")
    refuse_to_publish(args, missing)
    points = [point for point in wanted if point.kind not in missing]
    with in_pieces(args) as work:
        results = work.run_pieces({point.key: point for point in points}, models.audits, unit="model", until=until)
        if work.reports:
            rows = [row for key in results for row in results[key]]
            report(args, seeds, rows, list(work.left), missing)


def report(
    args: argparse.Namespace, seeds: list[int], rows: list[Row], left: Sequence[str], missing: Sequence[str] = ()
) -> None:
    """Write the numbers, tables and figure of what was audited, and print the conclusion."""
    simulated = [row for row in rows if row["kind"] == SIMULATED]
    rows = [row for row in rows if row["kind"] != SIMULATED]
    record: dict[str, Any] = rounded(
        {
            "benchmark": "audit",
            "complete": not (args.quick or left or missing),
            **environment(args),
            "seeds": seeds,
            "images": BATCH,
            "left_out": [*missing, *left],
            "constants_set_on": CONSTANTS_SET_ON,
            "targets": reached(rows),
            "simulated": simulated,
            "clean": clean_rows(rows),
            "manipulated": manipulated_rows(rows),
            "verdicts": rows,
        }
    )
    write_json(args.output / "audit.json", record)
    write_tables(args.output, record)
    draw_audits(args.output / "audit.png", rows)
    print_tables(record)
    if left:
        print(f"\nThere was no time for {len(left)} models; --resume continues with them")
    files = ["audit.json", "clean.csv", "manipulated.csv", "audit.png"]
    conclude(args, verdict(record), files, complete=bool(record["complete"]))


def audit_own_model(args: argparse.Namespace) -> None:
    """Audit the user's model, and write its numbers and figure."""
    classifier = load_classifier(args.model, args.weights, args.device)
    warn_of_random_weights(classifier)
    blank = blank_input(classifier.preprocess).to(args.device)
    layer = choose_layer(classifier.model, blank, args.layer, tokens=True)
    paths = find_images(args.images) if args.images else packaged_photographs()
    images = torch.stack([classifier.preprocess(load_required_image("--images", path)) for path in paths])
    if len(images) < MIN_IMAGES:
        raise UsageError(f"--images must be at least {MIN_IMAGES} images, got {len(images)}")
    result = audit(classifier.model, images, layer=layer, class_names=classifier.classes, seed=args.seed)
    write_json(args.output / "own.json", {"model": args.model, **environment(args), **result.as_dict()})
    result.figure().savefig(args.output / "own.png", dpi=110)
    show(str(result), quick=args.quick)
    conclude(args, [f"The verdict of the audit on {args.model}: {result.verdict}."], ["own.json", "own.png"])
