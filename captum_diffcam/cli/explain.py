"""``captum-diffcam explain``: from a model and a folder of images to a report."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from captum_diffcam.cli.images import as_batch, find_images
from captum_diffcam.cli.models import LITE0, Classifier
from captum_diffcam.cli.options import PROGRAM, UsageError
from captum_diffcam.cli.prepare import describe, library_errors, notes, prepare
from captum_diffcam.cli.questions import ALL, Answers, Explainer, Question, parse_class, parse_question
from captum_diffcam.cli.regions import read_regions
from captum_diffcam.cli.report import PAGE, ImageWriter, Report
from captum_diffcam.layers import SpatialLayer

_VERSIONED = ("captum-diffcam", "captum", "torch", "torchvision", "timm", "transformers", "numpy", "pillow")
_SIDES = ((300, 360), (3000, 200), (10**9, 112))
"""Up to so many images, the longer side in pixels of the photographs on the page, to keep large pages small."""


def run(options: argparse.Namespace) -> int:
    """Explain the images, and return the exit code."""
    process, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    report = Report(options.out, options.overwrite, process, processes)
    files = find_images(options.images, options.out)
    regions = read_regions(options.regions, files)
    setting = prepare(options, files)
    if setting is None:
        return 1
    device, classifier, model, images, example, classes, layer = setting
    with library_errors(), notes():
        target, questions = _parse_questions(options, classes)
        explainer = Explainer(
            model, len(classes), layer, questions, target, options.reduction, options.method, options.calibrate
        )
        explainer(example)  # so that what does not work is said before anything is written
    if process == 0:
        print(describe(options, setting))
    side = next(side for n_images, side in _SIDES if len(files) <= n_images)
    write = ImageWriter(options.out, files, classes, questions, side, regions)
    share = range(process, len(files), processes)
    loader: DataLoader[Any] = DataLoader(
        Subset(images, share), options.batch_size, num_workers=options.workers, collate_fn=as_batch
    )
    report.begin()
    complete = False
    try:
        with library_errors(), notes(), tqdm(total=len(share), unit="image", disable=process > 0) as bar:
            for batch in loader:
                if batch.problem:
                    raise UsageError(batch.problem)
                records = [
                    {"index": index, "skipped": {"file": files[index].name, "reason": reason}}
                    for index, reason in batch.skipped
                ]
                for record in records:
                    bar.write(f"{record['skipped']['file']} cannot be read: {record['skipped']['reason']}", sys.stderr)
                if batch.inputs is not None:
                    answers = explainer(batch.inputs.to(device))
                    for number, sample in enumerate(batch.samples):
                        records.append(write(sample, Answers(*(values[number] for values in answers))))
                for record in sorted(records, key=lambda record: record["index"]):
                    report.append(record)
                bar.update(len(records))
        complete = True
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; what is finished is kept.", file=sys.stderr)
    finally:
        counts = report.finish(_about(options, classifier, layer, questions, classes, len(files), processes), complete)
    if counts is not None:
        print(f"Explained {counts['explained']} of {len(files)} images: {options.out / PAGE}")
    if not complete:
        return 130
    # Only the last process to finish answers for all of them, because torchrun ends the others if one fails.
    return 3 if counts is not None and counts["skipped"] else 0


def _parse_questions(options: argparse.Namespace, classes: Sequence[str]) -> tuple[int | None, list[Question]]:
    target = None if options.target is None else parse_class("--target", options.target, classes)
    questions = [parse_question(text, classes) for text in options.contrast or []] or [ALL]
    for question in questions:
        if target in question.classes:
            raise UsageError(f"`--contrast` must not contain the target, got {question.text!r}.")
    return target, questions


def _about(
    options: argparse.Namespace,
    classifier: Classifier,
    layer: SpatialLayer,
    questions: Sequence[Question],
    classes: Sequence[str],
    n_images: int,
    processes: int,
) -> dict[str, Any]:
    """Return what the manifest says about the run as a whole."""
    return {
        "model": options.model or LITE0,
        "weights": str(options.weights or classifier.weights),
        "layer": layer.name,
        "layout": layer.layout,
        "preprocessing": " ".join(str(classifier.preprocess).split()),
        "method": options.method,
        "reduction": options.reduction,
        "calibrated": options.calibrate,
        "contrasts": [question.text for question in questions],
        "n_images": n_images,
        "processes": processes,
        "arguments": {name: _plain(value) for name, value in vars(options).items() if name != "command"},
        "versions": {
            "python": platform.python_version(),
            **{name.replace("-", "_"): installed for name in _VERSIONED if (installed := _version(name))},
        },
        "classes": list(classes),
    }


def _plain(value: Any) -> Any:
    """Return the value of an option as JSON has it."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
