"""``captum-diffcam explain``: from a model and a folder of images to a report."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from captum_diffcam.cli.images import Images, as_batch, find_images, one_line
from captum_diffcam.cli.models import LITE0, Classifier, Normalization, load_classifier
from captum_diffcam.cli.options import PROGRAM, UsageError
from captum_diffcam.cli.questions import (
    ALL,
    Answers,
    Explainer,
    LogitsOf,
    Question,
    find_layer,
    parse_class,
    parse_question,
)
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
    device = _device(options.device)
    normalization = Normalization(options.size, options.mean, options.std)
    classifier = load_classifier(options.model or LITE0, options.weights, normalization)
    model = LogitsOf(classifier.model.to(device))
    images = Images(files, classifier.preprocess)
    example = _first_readable(images, device)
    if example is None:
        return 1
    with _library_errors(), _notes():
        classes = _class_names(options.classes, classifier.classes, _count_classes(model, example))
        target, questions = _asked(options, classes)
        layer = find_layer(model, example, options.layer)
        explainer = Explainer(
            model, len(classes), layer, questions, target, options.reduction, options.method, options.calibrate
        )
        explainer(example)  # so that what does not work is said before anything is written
    if process == 0:
        print(f"Model {options.model or LITE0} (weights: {options.weights or classifier.weights}), layer {layer.name}")
    side = next(side for n_images, side in _SIDES if len(files) <= n_images)
    write = ImageWriter(options.out, files, classes, questions, side, regions)
    share = range(process, len(files), processes)
    loader: DataLoader[Any] = DataLoader(
        Subset(images, share), options.batch_size, num_workers=options.workers, collate_fn=as_batch
    )
    report.begin()
    complete = False
    try:
        with _library_errors(), _notes(), tqdm(total=len(share), unit="image", disable=process > 0) as bar:
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


def _device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"`--device` must be a device that works here, got {name!r}: {one_line(error)}") from error
    return device


def _first_readable(images: Images, device: torch.device) -> Tensor | None:
    """Return the first image that can be read, as a batch; if there is none, say so."""
    reasons = []
    for index in range(len(images)):
        batch = as_batch([images[index]])
        if batch.inputs is not None:
            return batch.inputs.to(device)
        reasons.append(f"{images.files[index].name} cannot be read: {batch.skipped[0][1]}")
    print("\n".join(reasons), file=sys.stderr)
    print(f"{PROGRAM}: none of {len(images)} images can be read.", file=sys.stderr)
    return None


def _count_classes(model: LogitsOf, example: Tensor) -> int:
    try:
        with torch.no_grad():
            logits = model(example)
    except Exception as error:  # the model may raise anything
        height, width = example.shape[2:]
        raise UsageError(
            f"The model fails on an image of {height} x {width} pixels (set with `--size`): "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(f"`--model` must be a classifier with logits of shape (images, classes), got {got}.")
    return logits.shape[1]


def _class_names(path: Path | None, known: Sequence[str] | None, n_classes: int) -> Sequence[str]:
    if path is None:
        return known if known and len(known) == n_classes else [f"class {index}" for index in range(n_classes)]
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"`--classes` must be a text file, got {str(path)!r}: {one_line(error)}") from error
    while names and not names[-1]:
        names.pop()
    if len(names) != n_classes:
        raise UsageError(f"`--classes` must have a line for each of {n_classes} classes, got {len(names)} lines.")
    return names


def _asked(options: argparse.Namespace, classes: Sequence[str]) -> tuple[int | None, list[Question]]:
    target = None if options.target is None else parse_class("--target", options.target, classes)
    questions = [parse_question(text, classes) for text in options.contrast or []] or [ALL]
    for question in questions:
        if target in question.classes:
            raise UsageError(f"`--contrast` must not contain the target, got {question.text!r}.")
    return target, questions


@contextmanager
def _library_errors() -> Iterator[None]:
    """Say what the library refuses in one sentence."""
    try:
        yield
    except (TypeError, ValueError, IndexError) as error:
        raise UsageError(one_line(error, 600)) from error
    except torch.OutOfMemoryError as error:
        raise UsageError(f"`--batch-size` must be smaller for the memory of the device: {one_line(error)}") from error


@contextmanager
def _notes() -> Iterator[None]:
    """Print each warning of the library once, as a sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", UserWarning)
        warnings.showwarning = lambda message, *_, **__: tqdm.write(f"{PROGRAM}: note: {message}", sys.stderr)
        yield


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
