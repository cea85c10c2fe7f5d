"""What every command needs first: the model on its device, readable images, the layer and the names of the classes."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from captum_diffcam.cli.images import ImageFile, Images, as_batch, one_line
from captum_diffcam.cli.models import LITE0, Classifier, Normalization, load_classifier
from captum_diffcam.cli.options import PROGRAM, UsageError
from captum_diffcam.cli.questions import LogitsOf, find_layer
from captum_diffcam.layers import SpatialLayer


class Setting(NamedTuple):
    """A model and images, ready for a command."""

    device: torch.device
    classifier: Classifier
    model: LogitsOf
    """The classifier's model on the device, with logits as its output."""
    images: Images
    example: Tensor
    """The first image that can be read, as a batch of one."""
    classes: Sequence[str]
    """The names of the classes."""
    layer: SpatialLayer


def prepare(options: argparse.Namespace, files: Sequence[ImageFile]) -> Setting | None:
    """Return what the options of model and images name, or None after saying that no image can be read.

    Raises:
        UsageError: The model, its weights, the device, the layer or the names of the classes are wrong.
    """
    device = _device(options.device)
    normalization = Normalization(options.size, options.mean, options.std)
    classifier = load_classifier(options.model or LITE0, options.weights, normalization)
    model = LogitsOf(classifier.model.to(device))
    images = Images(files, classifier.preprocess)
    example = _first_readable(images, device)
    if example is None:
        return None
    with library_errors(), notes():
        classes = _class_names(options.classes, classifier.classes, _count_classes(model, example))
        layer = find_layer(model, example, options.layer)
    return Setting(device, classifier, model, images, example, classes, layer)


def describe(options: argparse.Namespace, setting: Setting) -> str:
    """Return which model and layer are looked at."""
    weights = options.weights or setting.classifier.weights
    return f"Model {options.model or LITE0} (weights: {weights}), layer {setting.layer.name}"


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


@contextmanager
def library_errors() -> Iterator[None]:
    """Say what the library refuses in one sentence."""
    try:
        yield
    except (TypeError, ValueError, IndexError) as error:
        raise UsageError(one_line(error, 600)) from error
    except torch.OutOfMemoryError as error:
        raise UsageError(f"`--batch-size` must be smaller for the memory of the device: {one_line(error)}") from error


@contextmanager
def notes() -> Iterator[None]:
    """Print each warning of the library once, as a sentence."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", UserWarning)
        warnings.showwarning = lambda message, *_, **__: tqdm.write(f"{PROGRAM}: note: {message}", sys.stderr)
        yield
