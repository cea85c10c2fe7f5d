"""From the options to the results: audits in pieces, as many as there is time for, or the audit of one's own model."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.audit.figure import draw_audits
from benchmarks.audit.planned import UNTRAINED, Point, planned
from benchmarks.audit.suspects import BATCH, FORGED_BATCH, Suspects
from benchmarks.audit.tables import forged_rows, honest_rows, print_tables, write_tables
from benchmarks.audit.targets import reached, verdict
from benchmarks.common.images import find_images, load_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import RANDOM, blank_input, load_classifier
from benchmarks.common.options import SkippedError, UsageError, warn
from benchmarks.common.pieces import in_pieces
from benchmarks.common.reporting import conclude, environment, show, write_json
from benchmarks.common.result_folders import refuse_to_publish
from benchmarks.common.stored import Stored
from captum_diffcam import CamMethod, LayerDiffGradCam
from captum_diffcam.audit import EXCESS_LIMIT, AuditReport, audit


def run(args: argparse.Namespace) -> None:
    if args.model:
        audit_own(args)
        return
    if args.weights or args.layer or args.images:
        raise UsageError("--weights, --layer, --images: are those of --model, which is missing")
    until = math.inf if args.minutes is None else time.monotonic() + 60 * args.minutes
    suspects = Suspects(
        Stored(args.models), args.quick, cutouts=args.cutouts, backgrounds=args.backgrounds, fashion=args.fashion
    )
    seeds = list(range(args.seed, args.seed + (1 if args.quick else args.seeds)))
    wanted = planned(seeds, args.quick)
    missing = [kind for kind in dict.fromkeys(point.kind for point in wanted) if not suspects.has(kind)]
    for kind in missing:
        warn(f"{kind}: its data or weights are not installed, so it is left out")
    refuse_to_publish(args, missing)
    points = [point for point in wanted if point.kind not in missing]
    with in_pieces(args) as work:

        def do(point: Point) -> dict[str, Any]:
            suspect = suspects.make(point)
            reports = [
                audit(
                    suspect.model,
                    suspect.layer,
                    batch,
                    methods=suspect.methods,
                    seed=1000 * point.seed + number,
                    device=args.device,
                )
                for number, batch in enumerate(suspect.batches)
            ]
            told = {"kind": point.kind, "seed": point.seed, "attack": point.attack, **(suspect.known or {})}
            return {**told, "audits": [numbers(report) for report in reports]}

        found = work.run_pieces({point.key: point for point in points}, do, unit="model", until=until)
        if work.speaks:
            report(args, seeds, [found[key] for key in found], list(work.left), missing)


def numbers(report: AuditReport) -> dict[str, Any]:
    """What is kept of a report."""
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
        "excess": max(each.excess.value for each in report.evidence.values()),
        "equivariance": min(each.equivariance for each in report.evidence.values()),
        "own_agreement": min(each.excess.own for each in report.evidence.values()),
        "agreement": min(each.mean().item() for each in report.agreement.values()),
    }


def report(
    args: argparse.Namespace,
    seeds: list[int],
    found: list[dict[str, Any]],
    left: Sequence[str],
    missing: Sequence[str] = (),
) -> None:
    """Numbers, tables and a figure of what was audited."""
    honest = [each for each in found if each["attack"] is None and each["kind"] != UNTRAINED]
    untrained = [each for each in found if each["kind"] == UNTRAINED]
    forged = [each for each in found if each["attack"] is not None]
    record = {
        "benchmark": "audit",
        "complete": not (args.quick or left or missing),
        **environment(args),
        "seeds": seeds,
        "images": {"clean": BATCH, "manipulated": FORGED_BATCH},
        "excess_limit": EXCESS_LIMIT,
        "left_out": [*missing, *left],
        "audits": sum(len(each["audits"]) for each in found),
        "targets": reached(honest, forged),
        "clean": [*honest_rows(honest), *honest_rows(untrained)[1:]],
        "manipulated": forged_rows(forged, honest),
        "models": found,
    }
    write_json(args.output / "audit.json", record)
    write_tables(args.output, record)
    draw_audits(args.output / "audit.png", honest, forged)
    print_tables(record)
    if left:
        print(f"\nNo time was left for {len(left)} of {len(found) + len(left)} models; --resume goes on with them")
    files = ["audit.json", "clean.csv", "manipulated.csv", "audit.png"]
    conclude(args, verdict(record), files, complete=bool(record["complete"]))


def _readable(path: Path) -> Image.Image:
    try:
        return load_image(path)
    except SkippedError as error:
        raise UsageError(f"--images: {str(path)!r} is {error}") from error


def audit_own(args: argparse.Namespace) -> None:
    """The verdict on one's own model, in words, and the figure of it."""
    classifier = load_classifier(args.model, args.weights, args.device)
    if classifier.weights == RANDOM:
        warn(f"{args.model} has random weights, so its decisions mean nothing; --weights DEFAULT loads trained ones")
    layer = choose_layer(classifier.model, blank_input(classifier.preprocess).to(args.device), args.layer)
    paths = find_images(args.images) if args.images else packaged_photographs()
    images = torch.stack([classifier.preprocess(_readable(path)) for path in paths])
    # Plain Grad-CAM is DiffGradCAM without a contrast, and that takes the input of a layer, too.
    options = {"attribute_to_layer_input": layer.at_input}
    methods = [
        CamMethod(LayerDiffGradCam, contrast=[], **options),
        CamMethod(LayerDiffGradCam, **options),
        CamMethod(LayerDiffGradCam, reduction="mean", **options),
    ]
    found = audit(classifier.model, layer.module, images, methods=methods, seed=args.seed)
    write_json(args.output / "own.json", {"model": args.model, **environment(args), **numbers(found)})
    found.figure().savefig(args.output / "own.png", dpi=110)
    show(str(found), quick=args.quick)
    conclude(
        args, [f"The audit says of {args.model}: {found.verdict}, because {found.reason}."], ["own.json", "own.png"]
    )
