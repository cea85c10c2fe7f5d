"""The explained models: classifiers of drawn glyphs, and a classifier of photographs.

Images come in chunks of a fixed size. Each chunk has its own seeds, so it does not matter which process takes it, or
when.
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

from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import Classifier, blank_input, load_classifier, warn_of_random_weights
from benchmarks.common.names import LITE0
from benchmarks.common.options import SkippedError, UsageError, warn
from benchmarks.common.small_nets import GlyphClassifier
from benchmarks.faithfulness.chunks import LOCALIZATION, PREDICTION, Explained, Images, Subject
from captum_diffcam.layers import SpatialLayer

GLYPH_CHUNK, IMAGE_CHUNK = 25, 4
_GREY = 0.5
_HELD_OUT = 1_000_000
"""Seeds from here on are not used for training."""
_UNKNOWN = -1
_SEEDS = {LOCALIZATION: 12, PREDICTION: 8}
"""Part of the seed of the images of each study."""


def glyph_subjects(
    classes: int, seed: int, counts: tuple[int, int], weights: Callable[[], dict[str, Tensor]], device: torch.device
) -> list[Subject]:
    """Return the subjects of a trained classifier: localization of two objects, and predictions with one and two."""

    @cache
    def load() -> Explained:
        model = GlyphClassifier(classes)
        model.load_state_dict(weights())
        model.eval().to(device)
        return Explained(model, model.features, torch.full((3, 1, 1), _GREY, device=device))

    def scenes(study: str, objects: int) -> Callable[[int, int], Images]:
        def images(start: int, stop: int) -> Images:
            own = [_HELD_OUT, classes, seed, start, objects, _SEEDS[study]]
            drawn = draw_scenes(classes, stop - start, int(np.random.SeedSequence(own).generate_state(1)[0]), objects)
            tensors = (drawn.images.to(device), drawn.labels.to(device), drawn.masks.to(device))
            return Images(tensors[0], list(range(start, stop)), *tensors[1:])

        return images

    localization, prediction = counts
    studies = [(LOCALIZATION, 2, localization), (PREDICTION, 1, prediction), (PREDICTION, 2, prediction)]
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
        for study, objects, count in studies
    ]


def image_subject(args: argparse.Namespace, count: int, device: torch.device, warns: bool) -> Subject:
    """Return the subject of photographs, or of the user's model and images.

    Without ``--data`` it has ``count`` views of the packaged photographs.

    Raises:
        UsageError: the model, its weights or the folder cannot be used.
    """
    classifier = load_classifier(args.model or LITE0, args.weights, device)
    if warns:
        warn_of_random_weights(classifier)
    blank = blank_input(classifier.preprocess).to(device)
    layer = as_output(classifier.model, choose_layer(classifier.model, blank, args.layer))
    # Zero is the mean of the training images.
    explained = Explained(classifier.model, layer, torch.zeros(3, 1, 1, device=device))
    if args.data:
        samples = _samples(args.data, args.images, len(classifier.classes))
        count, images = len(samples), _from_folder(classifier, samples, device)
        name = f"{classifier.name}, {Path(args.data).resolve().name}"
    else:
        photographs = packaged_photographs()
        images = _views(classifier, photographs, args.seed, device)
        name = f"{classifier.name}, photographs"
    return Subject(PREDICTION, name, 0, count, IMAGE_CHUNK, lambda: explained, images)


def _samples(data: str, limit: int | None, classes: int) -> list[tuple[str, int]]:
    """Return the files with their labels, which are unknown if the model has other classes."""
    if not Path(data).is_dir():
        raise UsageError(f"--data must be a folder with a folder of images for each class, got {data!r}")
    try:
        folder = ImageFolder(data)
    except OSError as error:
        raise UsageError(f"--data: {' '.join(str(error).split())}") from error
    samples = [(path, label if len(folder.classes) == classes else _UNKNOWN) for path, label in folder.samples]
    if limit is not None and limit < len(samples):
        samples = [samples[index * len(samples) // limit] for index in range(limit)]
    return samples


def _from_folder(
    classifier: Classifier, samples: list[tuple[str, int]], device: torch.device
) -> Callable[[int, int], Images]:
    """Return a function that reads images when they are needed and leaves out unreadable ones."""

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
    """Return a function that gives the photographs, then random square crops of half to all of their shorter side."""

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


def as_output(model: nn.Module, layer: SpatialLayer) -> nn.Module:
    """Return a module whose output is the layer. One is inserted if needed: other libraries explain outputs only."""
    if not layer.attribute_to_layer_input:
        return layer.layer
    parent, _, name = layer.name.removesuffix(":input").rpartition(".")
    identity = nn.Identity()
    setattr(model.get_submodule(parent), name, nn.Sequential(identity, layer.layer))
    return identity
