"""What is explained: classifiers of glyphs on scenes of our own drawing, and a classifier of photographs.

A subject is a model with its images. Images come in chunks of a fixed size, each drawn from seeds of its own, so that
it does not matter which process takes it, or when.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.datasets import ImageFolder

from benchmarks.explainers import put_out
from benchmarks.glyph_classifier import LAYER, GlyphClassifier
from benchmarks.glyphs import draw_scenes
from benchmarks.images import load_image, packaged_photographs
from benchmarks.layers import choose_layer
from benchmarks.models import LITE0, RANDOM, Classifier, blank_input, load_classifier
from benchmarks.options import SkippedError, UsageError, warn

LOCALIZATION, DECISION = "localization", "decision"
GLYPH_CHUNK, IMAGE_CHUNK = 25, 4
_GREY = 0.5
_HELD_OUT = 1_000_000
"""Seeds below train."""
_UNKNOWN = -1


class Explained(NamedTuple):
    """A model in eval mode, the module whose output is explained, and the colour of nothing, (3, 1, 1)."""

    model: nn.Module
    layer: nn.Module
    blank: Tensor


class Images(NamedTuple):
    """Some images of a subject. Shapes: inputs (N, 3, H, W); of K objects labels (N, K) and masks (N, K, H, W)."""

    inputs: Tensor
    clusters: list[int]
    """What is resampled together."""
    labels: Tensor | None = None
    masks: Tensor | None = None


@dataclass(frozen=True)
class Subject:
    """A model, what it is shown, and which study it is for."""

    study: str
    name: str
    stratum: int
    """The model's seed."""
    count: int
    chunk: int
    load: Callable[[], Explained]
    images: Callable[[int, int], Images]
    """Those from one index up to another."""


@dataclass(frozen=True)
class Chunk:
    """Images of a subject that are examined together."""

    subject: Subject
    start: int
    key: str = field(init=False)
    """Unique, and the name of a file."""

    def __post_init__(self) -> None:
        words = f"{self.subject.study} {self.subject.name} {self.subject.stratum} {self.start}"
        name = "-".join("".join(c if c.isalnum() else " " for c in words).split())
        object.__setattr__(self, "key", f"{name}.npz")

    @property
    def images(self) -> Images:
        """Its images."""
        return self.subject.images(self.start, min(self.start + self.subject.chunk, self.subject.count))


def chunks(subjects: list[Subject]) -> Iterator[Chunk]:
    """Every chunk of every subject, in a fixed order."""
    for subject in subjects:
        for start in range(0, subject.count, subject.chunk):
            yield Chunk(subject, start)


def glyph_subjects(
    classes: int, seed: int, counts: tuple[int, int], weights: Path, device: torch.device
) -> list[Subject]:
    """A trained classifier: asked for one of two objects, and for its decision where it sees one object and two."""

    @cache
    def load() -> Explained:
        model = GlyphClassifier(classes)
        model.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
        model.eval().to(device)
        return Explained(model, model.get_submodule(LAYER), torch.full((3, 1, 1), _GREY, device=device))

    def scenes(study: str, objects: int) -> Callable[[int, int], Images]:
        def images(start: int, stop: int) -> Images:
            own = [_HELD_OUT, classes, seed, start, objects, len(study)]
            drawn = draw_scenes(classes, stop - start, int(np.random.SeedSequence(own).generate_state(1)[0]), objects)
            tensors = (drawn.images.to(device), drawn.labels.to(device), drawn.masks.to(device))
            return Images(tensors[0], list(range(start, stop)), *tensors[1:])

        return images

    located, decided = counts
    asked = [(LOCALIZATION, 2, located), (DECISION, 1, decided), (DECISION, 2, decided)]
    return [
        Subject(
            study,
            f"{classes} classes, {objects} object{'s' * (objects > 1)}",
            seed,
            count,
            GLYPH_CHUNK,
            load,
            scenes(study, objects),
        )
        for study, objects, count in asked
    ]


def image_subject(args: argparse.Namespace, count: int, device: torch.device, speak: bool) -> Subject:
    """EfficientNet-Lite0, or the user's model, on ``count`` views of the packaged photographs or on the user's folder.

    Raises:
        UsageError: the model, its weights or the folder cannot be used.
    """
    classifier = load_classifier(args.model or LITE0, args.weights, device)
    if classifier.weights == RANDOM and speak:
        warn(
            f"{classifier.name} has random weights, so its decisions mean nothing; --weights DEFAULT loads trained ones"
        )
    blank = blank_input(classifier.preprocess).to(device)
    layer = put_out(classifier.model, choose_layer(classifier.model, blank))
    # Zero is the mean of what the model was trained on.
    explained = Explained(classifier.model, layer, torch.zeros(3, 1, 1, device=device))
    if args.data:
        samples = _samples(args.data, args.images, len(classifier.classes))
        count, images = len(samples), _from_folder(classifier, samples, device)
        name = f"{classifier.name}, {Path(args.data).resolve().name}"
    else:
        photographs = packaged_photographs()
        images = _views(classifier, photographs, args.seed, device)
        name = f"{classifier.name}, photographs"
    return Subject(DECISION, name, 0, count, IMAGE_CHUNK, lambda: explained, images)


def _samples(data: str, limit: int | None, classes: int) -> list[tuple[str, int]]:
    """The files with their labels, which mean nothing to a model that has other classes."""
    if not Path(data).is_dir():
        raise UsageError(f"--data: there is no folder {data!r}")
    try:
        folder = ImageFolder(data)
    except OSError as error:
        raise UsageError(f"--data: {' '.join(str(error).split())}") from error
    found = [(path, label if len(folder.classes) == classes else _UNKNOWN) for path, label in folder.samples]
    if limit is not None and limit < len(found):
        found = [found[index * len(found) // limit] for index in range(limit)]
    return found


def _from_folder(
    classifier: Classifier, samples: list[tuple[str, int]], device: torch.device
) -> Callable[[int, int], Images]:
    """Images that are read when they are needed, without those that cannot be read."""

    def images(start: int, stop: int) -> Images:
        inputs, kept = [], []
        for index in range(start, stop):
            path = Path(samples[index][0])
            try:
                inputs.append(classifier.preprocess(load_image(path)))
                kept.append(index)
            except SkippedError as reason:
                warn(f"{path.name}: {reason}")
        batch = torch.stack(inputs) if inputs else blank_input(classifier.preprocess)[:0]
        labels = torch.tensor([[samples[index][1]] for index in kept], device=device)
        return Images(batch.to(device), kept, labels)

    return images


def _views(
    classifier: Classifier, photographs: list[Path], seed: int, device: torch.device
) -> Callable[[int, int], Images]:
    """The photographs as the model takes them, then random square crops of half to all of their shorter side."""

    def images(start: int, stop: int) -> Images:
        inputs = []
        for index in range(start, stop):
            view, which = divmod(index, len(photographs))
            image = load_image(photographs[which])
            inputs.append(classifier.preprocess(_crop(image, [seed, view, which]) if view else image))
        return Images(torch.stack(inputs).to(device), [index % len(photographs) for index in range(start, stop)])

    return images


def _crop(image: Image.Image, seed: list[int]) -> Image.Image:
    rng = np.random.default_rng(seed)
    side = round(rng.uniform(0.5, 1) * min(image.size))
    left, top = (int(rng.integers(0, length - side, endpoint=True)) for length in image.size)
    return image.crop((left, top, left + side, top + side))
