"""Run these studies: recognise the pictures, measure piece by piece, and write a record for each study."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.common.cutouts import MISSING, find_material
from benchmarks.common.fashion import MISSING as MISSING_CLOTHES
from benchmarks.common.fashion import find_fashion
from benchmarks.common.models import MISSING_MOBILENET, mobilenet_weights
from benchmarks.common.names import LITE0, MOBILENET
from benchmarks.common.options import warn
from benchmarks.common.pieces import Work
from benchmarks.common.reporting import environment, rounded, write_csv, write_json
from benchmarks.common.result_folders import refuse_to_publish
from benchmarks.faithfulness.options import NATS
from benchmarks.faithfulness.sample import Sample
from benchmarks.faithfulness.studies import pictures
from benchmarks.faithfulness.studies.figure import draw_studies
from benchmarks.faithfulness.studies.networks import (
    FLATTENED,
    SMALL,
    cut_small,
    real_network,
    small_network,
    train_small,
)
from benchmarks.faithfulness.studies.plan import FULL, QUICK, Piece, Subject, measure, pieces, recognise
from benchmarks.faithfulness.studies.report import Row, csv_rows, estimates, headline_table, targets, verdict

TRAINING, QUICK_TRAINING = 4000, 1500
"""Training images of a small classifier."""
TEST, QUICK_TEST = 400, 60
"""Pictures that a small classifier is shown."""
FIGURE = "studies.png"


class Report(NamedTuple):
    """What is printed and published."""

    table: str
    sentences: list[str]
    files: list[str]


def run_studies(args: argparse.Namespace, work: Work, studies: tuple[str, ...]) -> Report | None:
    """Measure, and return what to print. None in processes that do not report, or if there is nothing to measure."""
    subjects = _subjects(args, work)
    recognised = work.run_pieces({f"recognise, {s.name}": s for s in subjects}, recognise, unit="classifier")
    sizes = QUICK if args.quick else FULL
    # Study by study, so that an interrupted run has finished some of them.
    planned = [
        piece
        for study in studies
        for subject in subjects
        for piece in pieces(subject, recognised[f"recognise, {subject.name}"], (study,), sizes, args.seed)
    ]

    def do(piece: Piece) -> dict[str, Tensor]:
        return measure(piece, recognised[f"recognise, {piece.subject.name}"], args.seed)

    results = work.run_pieces({piece.key: piece for piece in planned}, do)
    if not (work.reports and planned):
        return None
    records, files = {}, []
    for study in studies:
        if not any(piece.study == study for piece in planned):
            warn(f"{study} is left out, because no classifier recognises enough pictures")
            continue
        samples = _samples([piece for piece in planned if piece.study == study], results, args.seed)
        record = _record(args, study, samples)
        write_json(args.output / f"{study}.json", record)
        write_csv(args.output / f"{study}.csv", *csv_rows(study, record["estimates"]), quick=args.quick)
        files += [f"{study}.{suffix}" for suffix in ("json", "csv")]
        records[study] = record["estimates"]
    if draw_studies(args.output / FIGURE, records):
        files.append(FIGURE)
    return Report(headline_table(records), verdict(records), files)


def _subjects(args: argparse.Namespace, work: Work) -> list[Subject]:
    """Return the classifiers whose data are installed. Small ones are trained first."""
    subjects, missing = [], []
    folder = find_fashion()
    if folder is None:
        missing.append(MISSING_CLOTHES)
    else:
        count = QUICK_TRAINING if args.quick else TRAINING
        names = (FLATTENED,) if args.quick else SMALL

        def train(name: str) -> dict[str, Tensor]:
            images, labels = pictures.training_clothes(folder, count, args.seed)
            return train_small(name, images, labels, args.seed, quiet=not work.reports, device=args.device)

        weights = work.run_pieces({f"train, {name}": name for name in names}, train, unit="classifier")
        shown = (pictures.clothes(folder, QUICK_TEST if args.quick else TEST, args.seed),)
        for name in names:
            load = cache(partial(_small, name, weights, args.device))
            subjects.append(Subject(name, load, shown, (2,)))
    if not args.quick:
        material = find_material(args.cutouts, args.backgrounds)
        if material is None:
            missing.append(MISSING)
        elif mobilenet_weights() is None:
            missing.append(MISSING_MOBILENET)
        if material is not None:
            both = (pictures.photographs(material), pictures.cutouts(material, args.seed))
            for name in (MOBILENET, LITE0):
                if name == LITE0 or mobilenet_weights() is not None:
                    subjects.append(Subject(name, cache(partial(real_network, name, args.device)), both, (2, 3)))
    refuse_to_publish(args, missing)
    if work.reports:
        for line in missing:
            warn(line)
    return subjects


def _small(name: str, weights: Mapping[str, dict[str, Tensor]], device: torch.device) -> Any:
    return cut_small(name, small_network(name, weights[f"train, {name}"]).to(device))


def _samples(planned: list[Piece], results: Mapping[str, dict[str, Tensor]], seed: int) -> list[Sample]:
    """Join the pieces of each subject and kind of images. Methods that were left out of a piece have NaNs there."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for piece in planned:
        numbers = {name: values.double().numpy() for name, values in results[piece.key].items()}
        parts.setdefault(f"{piece.subject.name}, {piece.kind}", []).append(numbers)
    samples = []
    for name, members in parts.items():
        keys = dict.fromkeys(key for numbers in members for key in numbers)
        full = [(0, {key: numbers.get(key, numbers["cluster"] * float("nan")) for key in keys}) for numbers in members]
        samples.append(Sample.of(planned[0].study, name, full, seed))
    return samples


def _record(args: argparse.Namespace, study: str, samples: list[Sample]) -> Row:
    rows = estimates(study, samples)
    counts = [
        {"subject": sample.name, "images": sample.count, "pictures": len(set(sample.numbers["cluster"].tolist()))}
        for sample in samples
    ]
    record: Row = rounded(
        {
            **{"benchmark": "faithfulness", "study": study, "complete": not args.quick, **environment(args)},
            **{"subjects": counts, "estimates": rows},
            **({"targets": targets(rows)} if study == NATS else {}),
        }
    )
    return record
