"""Training, examination and report, on one process or several."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.common.distributed import Ranks, ranks
from benchmarks.common.glyph_classifier import train_classifier
from benchmarks.common.options import UsageError, warn
from benchmarks.common.peers import installed_peers, warn_of_missing_peers
from benchmarks.common.progress import Progress, begin
from benchmarks.common.reporting import environment, versions, write_json
from benchmarks.faithfulness.chunks import Chunk, Subject, chunks
from benchmarks.faithfulness.estimates import agreement, deletion_curves, estimates, parting
from benchmarks.faithfulness.explained_models import glyph_subjects, image_subject
from benchmarks.faithfulness.figure import draw_faithfulness
from benchmarks.faithfulness.measures import examine
from benchmarks.faithfulness.sample import Sample
from benchmarks.faithfulness.tables import IMAGENET, print_record, write_tables
from benchmarks.faithfulness.targets import targets

CLASSES, SEEDS = (10, 200), 3
IMAGES, QUICK_IMAGES = (300, 75), (50, 25)
"""Scenes for each trained classifier: for localization, and for the decision with one object and with two."""
PHOTOGRAPHS, QUICK_TRAINING = 40, 3000
_SECONDS = "seconds"


def run(args: argparse.Namespace) -> None:
    if args.images and not args.data:
        raise UsageError("--images: limits the images of --data, which is not given")
    with ranks(args.device) as processes:
        _run(args, processes)


def _run(args: argparse.Namespace, processes: Ranks) -> None:
    if processes.count > 1:
        args.command = args.command.replace("python", f"torchrun --nproc-per-node {processes.count}", 1)
    if processes.speaks:
        warn_of_missing_peers()
        if args.quick:
            warn("--quick trains one classifier on few images; the targets are for a full run")
    classes, seeds = (CLASSES[:1], 1) if args.quick else (CLASSES, SEEDS)
    shown = image_subject(args, 2 if args.quick else PHOTOGRAPHS, processes.device, processes.speaks)
    progress = begin(args.output, _options(args), args.resume, processes)
    drawn: list[Subject] = []
    # Some model or folder of the user's takes the place of all that we have trained ourselves.
    if not (args.model or args.weights or args.data):
        # Those that take longest come first, so that processes end at about the same time.
        jobs = [(count, args.seed + seed) for count in reversed(classes) for seed in range(seeds)]
        _train(processes.share(jobs), progress, args.quick, processes.speaks)
        images = QUICK_IMAGES if args.quick else IMAGES
        drawn = [
            subject
            for count, seed in sorted(jobs)
            for subject in glyph_subjects(
                count, seed, images, progress.folder / _weights(count, seed), processes.device
            )
        ]
    # Photographs need no training, and take longest.
    _examine(processes.share(list(chunks([shown]))), progress, processes.speaks)
    processes.meet()
    _examine(processes.share(list(chunks(drawn))), progress, processes.speaks)
    processes.meet()
    if processes.speaks:
        _report(args, [*drawn, shown], progress, processes.count)
        progress.finish()


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on."""
    chosen = {name: getattr(args, name) for name in ("quick", "model", "weights", "data", "images", "seed", "threads")}
    return {
        **chosen,
        **versions(),
        "device": args.device.type,
        "peers": installed_peers(),
    }


def _weights(classes: int, seed: int) -> str:
    return f"glyphs-{classes}-{seed}.pt"


def _train(jobs: Sequence[tuple[int, int]], progress: Progress, quick: bool, speaks: bool) -> None:
    for classes, seed in jobs:
        if not progress.has(_weights(classes, seed)):
            model = train_classifier(classes, seed, QUICK_TRAINING if quick else None, quiet=not speaks)
            progress.write(_weights(classes, seed), partial(torch.save, model.state_dict()))


def _examine(work: Sequence[Chunk], progress: Progress, speaks: bool) -> None:
    for chunk in tqdm(work, desc="examine", unit="chunk", leave=False, disable=not speaks):
        if not progress.has(chunk.key):
            start = perf_counter()
            numbers = examine(chunk)
            progress.write_numbers(chunk.key, {**numbers, _SECONDS: np.array([perf_counter() - start])})


def _report(args: argparse.Namespace, subjects: Sequence[Subject], progress: Progress, processes: int) -> None:
    """Read what all processes have found, in the order of the images, and say it."""
    parts: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = {}
    seconds: dict[tuple[str, str], float] = {}
    for chunk in chunks(list(subjects)):
        numbers = progress.read_numbers(chunk.key)
        kind = (chunk.subject.study, chunk.subject.name)
        seconds[kind] = seconds.get(kind, 0.0) + float(numbers.pop(_SECONDS)[0])
        parts.setdefault(kind, []).append((chunk.subject.stratum, numbers))
    samples = [Sample.of(*kind, found, args.seed) for kind, found in parts.items()]
    if not any(sample.count for sample in samples):
        raise UsageError("--data: there is no image that can be read")
    record: dict[str, Any] = {
        "benchmark": "faithfulness",
        "complete": not args.quick,
        **environment(args),
        "subjects": [sample.described() for sample in samples],
        "estimates": estimates(samples),
        "agreement": agreement(samples),
        "parting": parting(samples),
        "targets": targets(samples),
        "deletion": deletion_curves(samples),
        "cost": _cost(samples, seconds, processes),
    }
    write_json(args.output / "faithfulness.json", record)
    tables = write_tables(args.output, record)
    draw_faithfulness(args.output / "faithfulness.png", record)
    print_record(record)
    print(f"\nWritten to {args.output}: faithfulness.json, faithfulness.png, {', '.join(tables)}")


def _cost(samples: Sequence[Sample], seconds: dict[tuple[str, str], float], processes: int) -> dict[str, Any]:
    """What an image takes one process, and from that what ImageNet's validation set would take."""
    each = {
        f"{sample.study}, {sample.name}": seconds[sample.study, sample.name] / max(sample.count, 1)
        for sample in samples
    }
    # The last are the photographs, or the user's images.
    hours = IMAGENET * list(each.values())[-1] / 3600
    return {
        "processes": processes,
        "seconds an image": each,
        "hours for ImageNet's validation set": {str(count): hours / count for count in (1, 2, 8, 64)},
    }
