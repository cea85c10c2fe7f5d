"""Run the faithfulness benchmark: train, measure and report, with one process or several."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

import torch

from benchmarks.common.cutouts import MISSING, find_material
from benchmarks.common.models import load_classifier
from benchmarks.common.names import LITE0
from benchmarks.common.options import UsageError, warn
from benchmarks.common.peers import installed_peers, warn_of_missing_peers
from benchmarks.common.pieces import Work, in_pieces
from benchmarks.common.reporting import conclude, environment, rounded, show, write_json
from benchmarks.common.small_nets import train_classifier
from benchmarks.faithfulness.chunks import Chunk, Subject, chunks
from benchmarks.faithfulness.cutout_scenes import cutout_subject
from benchmarks.faithfulness.estimates import agreement, deletion_curves, differing, estimates
from benchmarks.faithfulness.explained_models import glyph_subjects, image_subject
from benchmarks.faithfulness.figure import draw_faithfulness
from benchmarks.faithfulness.measures import examine
from benchmarks.faithfulness.options import COMPARISON, STUDIES
from benchmarks.faithfulness.sample import Sample
from benchmarks.faithfulness.studies.run import Report, run_studies
from benchmarks.faithfulness.tables import IMAGENET, headline_table, write_tables
from benchmarks.faithfulness.targets import targets
from benchmarks.faithfulness.verdict import verdict

CLASSES, SEEDS = (10, 200), 3
IMAGES, QUICK_IMAGES = (300, 75), (25, 8)
"""Scenes for each trained classifier: for localization, and for predictions with one object and with two."""
PHOTOGRAPHS, QUICK_TRAINING = 40, 2000
SCENES = 120
"""Scenes of two cut-outs."""
_SECONDS = "seconds"
Kind: TypeAlias = tuple[str, str]
"""Study and name of a subject."""


class Training(NamedTuple):
    """A classifier of glyphs to train."""

    classes: int
    seed: int

    @property
    def key(self) -> str:
        """A unique name."""
        return f"train, {self.classes} classes, {self.seed}"


def run(args: argparse.Namespace) -> None:
    if args.images and not args.data:
        raise UsageError("--images needs --data, whose images it limits")
    studies = _chosen(args)
    with in_pieces(args, peers=installed_peers()) as work:
        if work.reports:
            warn_of_missing_peers()
            if args.quick:
                warn("--quick trains one classifier on few images; the targets are for a full run")
        reports = []
        if COMPARISON in studies:
            subjects, results = _measure(args, work)
            if work.reports:
                reports.append(_report(args, subjects, results, work.processes.count))
        if own := tuple(study for study in STUDIES if study in studies):
            reports += [report for report in [run_studies(args, work, own)] if report is not None]
        if not reports:
            return
        for report in reports:
            show(report.table, quick=args.quick)
        sentences = [sentence for report in reports for sentence in report.sentences]
        conclude(args, sentences, [name for report in reports for name in report.files])


def _chosen(args: argparse.Namespace) -> tuple[str, ...]:
    """Return the studies to run. Only one takes the user's model or images."""
    own = [name for name in ("model", "weights", "layer", "data") if getattr(args, name)]
    if own and args.studies and set(args.studies) != {COMPARISON}:
        raise UsageError(f"--studies must be {COMPARISON} with --{own[0]}, got {' '.join(args.studies)}")
    return (COMPARISON,) if own else tuple(args.studies or (COMPARISON, *STUDIES))


def _measure(args: argparse.Namespace, work: Work) -> tuple[list[Subject], Mapping[str, dict[str, Any]]]:
    """Return all subjects, and the results by chunk."""

    def do(piece: Training | Chunk) -> dict[str, Any]:
        return _measured(piece) if isinstance(piece, Chunk) else _trained(piece, args.quick, work.reports)

    shown = image_subject(args, 1 if args.quick else PHOTOGRAPHS, args.device, work.reports)
    jobs: list[Training] = []
    ready = [shown]
    # The user's model or images replace the models that are trained here.
    if not (args.model or args.weights or args.layer or args.data):
        classes, seeds = (CLASSES[:1], 1) if args.quick else (CLASSES, SEEDS)
        # The longest trainings come first, so that processes end at about the same time.
        jobs = [Training(count, args.seed + seed) for count in reversed(classes) for seed in range(seeds)]
        # Finding scenes that the classifier recognises takes longer than a whole quick run.
        material = None if args.quick else find_material(args.cutouts, args.backgrounds)
        if material is not None:
            ready.insert(0, cutout_subject(load_classifier(LITE0, None, args.device), material, SCENES, args.seed))
        elif work.reports and not args.quick:
            warn(MISSING)
    # Photographs need no training, and take longest.
    trained = work.run_pieces(_by_key([*jobs, *chunks(ready)]), do)
    drawn = [
        subject
        for job in sorted(jobs)
        for subject in glyph_subjects(
            *job, QUICK_IMAGES if args.quick else IMAGES, partial(trained.__getitem__, job.key), args.device
        )
    ]
    results = work.run_pieces(_by_key(chunks(drawn)), do, unit="chunk")
    return [*drawn, *ready], trained | results


def _by_key(pieces: Iterable[Training | Chunk]) -> dict[str, Training | Chunk]:
    return {piece.key: piece for piece in pieces}


def _trained(job: Training, quick: bool, shows_progress: bool) -> dict[str, Any]:
    model = train_classifier(job.classes, job.seed, QUICK_TRAINING if quick else None, quiet=not shows_progress)
    return dict(model.state_dict())


def _measured(chunk: Chunk) -> dict[str, Any]:
    start = perf_counter()
    numbers = {name: torch.from_numpy(values) for name, values in examine(chunk).items()}
    return {**numbers, _SECONDS: perf_counter() - start}


def _report(
    args: argparse.Namespace, subjects: list[Subject], results: Mapping[str, dict[str, Any]], processes: int
) -> Report:
    """Read the results of all processes in the order of the images, and write them."""
    parts: dict[Kind, list[tuple[int, dict[str, Any]]]] = {}
    seconds: dict[Kind, float] = {}
    for chunk in chunks(subjects):
        numbers = results[chunk.key]
        kind = (chunk.subject.study, chunk.subject.name)
        seconds[kind] = seconds.get(kind, 0.0) + numbers.pop(_SECONDS)
        arrays = {name: values.numpy() for name, values in numbers.items()}
        parts.setdefault(kind, []).append((chunk.subject.stratum, arrays))
    samples = [Sample.of(*kind, chunk_numbers, args.seed) for kind, chunk_numbers in parts.items()]
    if not any(sample.count for sample in samples):
        raise UsageError("--data must have readable images, got none")
    record: dict[str, Any] = rounded(
        {
            "benchmark": "faithfulness",
            "complete": not args.quick,
            **environment(args),
            "subjects": [sample.description() for sample in samples],
            "estimates": estimates(samples),
            "agreement": agreement(samples),
            "differing": differing(samples),
            "targets": targets(samples),
            "deletion": deletion_curves(samples),
            "cost": _cost(samples, seconds, processes),
        }
    )
    write_json(args.output / "faithfulness.json", record)
    tables = write_tables(args.output, record, quick=args.quick)
    draw_faithfulness(args.output / "faithfulness.png", record)
    return Report(headline_table(record), verdict(record), ["faithfulness.json", "faithfulness.png", *tables])


def _cost(samples: list[Sample], seconds: dict[Kind, float], processes: int) -> dict[str, Any]:
    """Return the seconds per image of one process, and the hours for ImageNet's validation set."""
    per_image = {
        f"{sample.study}, {sample.name}": seconds[sample.study, sample.name] / max(sample.count, 1)
        for sample in samples
    }
    # The last subject is that of photographs, or of the user's images.
    hours = IMAGENET * list(per_image.values())[-1] / 3600
    return {
        "processes": processes,
        "seconds per image": per_image,
        "hours for ImageNet's validation set": {str(count): hours / count for count in (1, 2, 8, 64)},
    }
