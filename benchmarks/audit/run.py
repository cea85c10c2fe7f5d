"""Run the benchmark of the audit: audit models in pieces, as many as there is time for, or audit the user's model."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.audit.audited_models import CLEAN_BATCH, MANIPULATED_BATCH, AuditedModels
from benchmarks.audit.figure import draw_audits
from benchmarks.audit.plan import UNTRAINED, Point, planned
from benchmarks.audit.tables import clean_rows, manipulated_rows, print_tables, write_tables
from benchmarks.audit.targets import reached, verdict
from benchmarks.common.images import find_images, load_required_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import blank_input, load_classifier, warn_of_random_weights
from benchmarks.common.options import check_own_model_options, warn
from benchmarks.common.pieces import in_pieces
from benchmarks.common.reporting import conclude, environment, rounded, show, write_json
from benchmarks.common.result_folders import refuse_to_publish
from benchmarks.common.stored import Stored
from captum_diffcam import CamMethod, LayerDiffGradCam
from captum_diffcam.audit import EXCESS_LIMIT, AuditReport, audit


def run(args: argparse.Namespace) -> None:
    check_own_model_options(args.model, weights=args.weights, layer=args.layer, images=args.images)
    if args.model:
        audit_own_model(args)
        return
    until = math.inf if args.minutes is None else time.monotonic() + 60 * args.minutes
    models = AuditedModels(
        Stored(args.models), args.quick, cutouts=args.cutouts, backgrounds=args.backgrounds, fashion=args.fashion
    )
    seeds = list(range(args.seed, args.seed + (1 if args.quick else args.seeds)))
    wanted = planned(seeds, args.quick)
    missing = [kind for kind in dict.fromkeys(point.kind for point in wanted) if not models.has(kind)]
    for kind in missing:
        warn(f"{kind}: left out, because its data or weights are not installed")
    refuse_to_publish(args, missing)
    points = [point for point in wanted if point.kind not in missing]
    with in_pieces(args) as work:

        def audit_point(point: Point) -> dict[str, Any]:
            audited = models.make(point)
            reports = [
                audit(
                    audited.model,
                    audited.layer,
                    batch,
                    methods=audited.methods,
                    seed=1000 * point.seed + number,
                    device=args.device,
                )
                for number, batch in enumerate(audited.batches)
            ]
            fields = {"kind": point.kind, "seed": point.seed, "attack": point.attack, **(audited.known or {})}
            return {**fields, "audits": [numbers(report) for report in reports]}

        results = work.run_pieces({point.key: point for point in points}, audit_point, unit="model", until=until)
        if work.reports:
            report(args, seeds, [results[key] for key in results], list(work.left), missing)


def numbers(report: AuditReport) -> dict[str, Any]:
    """Return the numbers of a report for the record."""
    evidence = report.evidence.values()
    return {
        "verdict": report.verdict,
        "p_manipulated": report.p_manipulated,
        "p_no_sign": report.p_no_sign,
        "suspicion": report.suspicion,
        "reliability": report.reliability,
        "confidence": report.confidence,
        "images": len(report.images),
        "images_available": report.total_images,
        "forward_passes": report.forwards_per_image,
        "excess": max(method.excess.value for method in evidence),
        "equivariance": min(method.equivariance for method in evidence),
        "own_agreement": min(method.excess.own for method in evidence),
        "agreement": min(correlations.mean().item() for correlations in report.agreement.values()),
    }


def report(
    args: argparse.Namespace,
    seeds: list[int],
    results: list[dict[str, Any]],
    left: Sequence[str],
    missing: Sequence[str] = (),
) -> None:
    """Write the numbers, tables and figure of what was audited, and print the conclusion."""
    clean = [result for result in results if result["attack"] is None and result["kind"] != UNTRAINED]
    untrained = [result for result in results if result["kind"] == UNTRAINED]
    manipulated = [result for result in results if result["attack"] is not None]
    record: dict[str, Any] = rounded(
        {
            "benchmark": "audit",
            "complete": not (args.quick or left or missing),
            **environment(args),
            "seeds": seeds,
            "images": {"clean": CLEAN_BATCH, "manipulated": MANIPULATED_BATCH},
            "excess_limit": EXCESS_LIMIT,
            "left_out": [*missing, *left],
            "audits": sum(len(result["audits"]) for result in results),
            "targets": reached(clean, manipulated),
            "clean": [*clean_rows(clean), *clean_rows(untrained)[1:]],
            "manipulated": manipulated_rows(manipulated, clean),
            "models": results,
        }
    )
    write_json(args.output / "audit.json", record)
    write_tables(args.output, record)
    draw_audits(args.output / "audit.png", clean, manipulated)
    print_tables(record)
    if left:
        print(f"\nThere was no time for {len(left)} of {len(results) + len(left)} models; --resume continues with them")
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
    # With an empty contrast set, LayerDiffGradCam is LayerGradCam for every layer.
    methods = [
        CamMethod(LayerDiffGradCam, contrast=[]),
        CamMethod(LayerDiffGradCam),
        CamMethod(LayerDiffGradCam, reduction="mean"),
    ]
    result = audit(classifier.model, layer, images, methods=methods, seed=args.seed)
    write_json(args.output / "own.json", {"model": args.model, **environment(args), **numbers(result)})
    result.figure().savefig(args.output / "own.png", dpi=110)
    show(str(result), quick=args.quick)
    conclude(
        args, [f"The verdict of the audit on {args.model}: {result.verdict}. {result.reason}"], ["own.json", "own.png"]
    )
