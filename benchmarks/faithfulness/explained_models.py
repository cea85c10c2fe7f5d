"""Which models are explained: classifiers of glyphs on scenes of our own drawing, and a classifier of photographs.

Images come in chunks of a fixed size, each drawn from seeds of its own, so that it does not matter which process takes
it, or when.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.datasets import ImageFolder

from benchmarks.common.glyph_classifier import LAYER, GlyphClassifier
from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.layers import Layer, choose_layer
from benchmarks.common.models import RANDOM, Classifier, blank_input, load_classifier
from benchmarks.common.names import LITE0
from benchmarks.common.options import SkippedError, UsageError, warn
from benchmarks.faithfulness.chunks import DECISION, LOCALIZATION, Explained, Images, Subject

GLYPH_CHUNK, IMAGE_CHUNK = 25, 4
_GREY = 0.5
_HELD_OUT = 1_000_000
"""Seeds below train."""
_UNKNOWN = -1
_SEEDS = {LOCALIZATION: 12, DECISION: 8}
"""Part of the seed of the images of each study."""


def glyph_subjects(
    classes: int, seed: int, counts: tuple[int, int], weights: Callable[[], dict[str, Tensor]], device: torch.device
) -> list[Subject]:
    """A trained classifier: asked for one of two objects, and for its decision where it sees one object and two."""

    @cache
    def load() -> Explained:
        model = GlyphClassifier(classes)
        model.load_state_dict(weights())
        model.eval().to(device)
        return Explained(model, model.get_submodule(LAYER), torch.full((3, 1, 1), _GREY, device=device))

    def scenes(study: str, objects: int) -> Callable[[int, int], Images]:
        def images(start: int, stop: int) -> Images:
            own = [_HELD_OUT, classes, seed, start, objects, _SEEDS[study]]
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


def put_out(model: nn.Module, layer: Layer) -> nn.Module:
    """The module that puts the layer out, made where there was none: other libraries do not see what goes in."""
    if not layer.at_input:
        return layer.module
    parent, _, name = layer.name.removesuffix(":input").rpartition(".")
    passing = nn.Identity()
    setattr(model.get_submodule(parent), name, nn.Sequential(passing, layer.module))
    return passing
