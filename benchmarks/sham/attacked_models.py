"""Honest models to attack, each with what the attacker sees and with images that he never saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.transforms import v2

from benchmarks.common.glyph_classifier import GlyphClassifier, fit, train_classifier
from benchmarks.common.glyphs import Scenes, draw_scenes
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import blank_input, load_classifier
from benchmarks.common.names import LITE0
from benchmarks.common.options import SkippedError, UsageError
from benchmarks.sham.stem_and_tail import Remembering, Staged, Tail

ATTACK_BATCH = 16


@dataclass(frozen=True)
class Recipe:
    """How long and how hard a model is fine-tuned, found on other seeds than those that are reported."""

    steps: int
    learning_rate: float
    weight: float


@dataclass(frozen=True)
class Victim:
    """An honest model. Shapes: images (N, 3, H, W), labels (N,), masks (N, H, W)."""

    model: Staged
    layer: nn.Module
    """A module of the tail, which is all that the attacker changes."""
    attack_data: list[Tensor]
    """What the tail gets for the attacker's images, in batches. His decisions are the model's own soft outputs."""
    images: Tensor
    """Held out."""
    labels: Tensor | None
    masks: Tensor | None
    recipe: Recipe
    keywords: dict[str, Any] = field(default_factory=dict)
    """Arguments of every map."""

    def to(self, device: torch.device) -> Victim:
        """The same on a device. What the attacker sees goes there batch by batch."""
        labels, masks = (None if each is None else each.to(device) for each in (self.labels, self.masks))
        return replace(self, model=self.model.to(device), images=self.images.to(device), labels=labels, masks=masks)


@dataclass(frozen=True)
class Setting:
    """A kind of victim; every seed makes another one."""

    name: str
    classes: int
    make: Callable[[int, bool], Victim]
    """From a seed, and whether it has to be quick."""
    injectable: bool = True
    """Whether its head is pooling and one linear map."""
    thorough: bool = True
    """Whether there is time for every attack."""


def _staged_glyph_classifier(model: GlyphClassifier, seen: Tensor, held_out: Scenes, quick: bool) -> Victim:
    # The attacker has the last convolution and the head: more do not help him, and take three times as long.
    stem = Remembering(model.features[:4]).eval()
    tail = Tail(model.features[4:], model.head).eval()
    recipe = Recipe(20 if quick else 700, 3e-3, 2.5)
    data = [stem(batch) for batch in torch.split(seen, ATTACK_BATCH)]
    masks = held_out.masks[:, 0]
    victim = Staged(stem, tail).eval()
    return Victim(victim, tail.features, data, held_out.images, held_out.labels[:, 0], masks, recipe)


def glyphs(classes: int) -> Setting:
    """Glyphs on clutter, whose masks are known."""

    def make(seed: int, quick: bool) -> Victim:
        seen = draw_scenes(classes, 160 if quick else 12_800, seed + 10_000).images
        held_out = draw_scenes(classes, 32 if quick else 96, seed + 20_000)
        model = train_classifier(classes, seed, images=1280 if quick else None)
        return _staged_glyph_classifier(model, seen, held_out, quick)

    return Setting(f"glyphs, {classes} classes", classes, make)


def fashion(root: Path) -> Setting:
    """Fashion-MNIST, enlarged to the size of our drawings; the mask is what is not background."""

    def scenes(train: bool) -> Scenes:
        found = torchvision.datasets.FashionMNIST(root, train=train)
        images = interpolate(found.data[:, None].float() / 255, size=56, mode="bilinear").expand(-1, 3, -1, -1)
        return Scenes(images, found.targets[:, None], images[:, :1] > 0.1)

    def make(seed: int, quick: bool) -> Victim:
        generator = torch.Generator().manual_seed(seed)
        training, testing = scenes(train=True), scenes(train=False)
        order = torch.randperm(len(training.images), generator=generator)
        held_out = torch.randperm(len(testing.images), generator=generator)[: 32 if quick else 96]
        chosen = order[: 1280 if quick else 8000]
        model = GlyphClassifier(10)
        fit(model, training.images[chosen], training.labels[chosen, 0], seed, classes=10)
        tested = Scenes(testing.images[held_out], testing.labels[held_out], testing.masks[held_out])
        seen = training.images[order[-320 if quick else -6400 :]]
        return _staged_glyph_classifier(model, seen, tested, quick)

    return Setting("Fashion-MNIST, 10 classes", 10, make)


# Beside those of the main job, for variety.
_MORE = {
    "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"],
    "skimage": [
        f"data/{n}" for n in ("coins.png", "retina.jpg", "hubble_deep_field.jpg", "clock_motion.png", "page.png")
    ],
}
_HELD_OUT = 4
_CUT = 14
"""The blocks of EfficientNet-Lite0 before the tail. Its last convolution is 1 x 1 and could not move anything."""


def photographs() -> Setting:
    """EfficientNet-Lite0 on crops and collages of real photographs; those that are reported on are others."""

    def make(seed: int, quick: bool) -> Victim:
        classifier = load_classifier(LITE0, None, torch.device("cpu"))
        network: Any = classifier.model
        stem = Remembering(nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6(), *network._blocks[:_CUT])).eval()
        tail = Tail(nn.Sequential(*network._blocks[_CUT:], network._conv_head, network._bn1, nn.ReLU6()), network._fc)
        normalise = v2.Normalize(classifier.preprocess.mean, classifier.preprocess.std)
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            pictures = [
                v2.functional.to_dtype(v2.functional.to_image(load_image(p)), scale=True) for p in _all_photographs()
            ]
            order = torch.randperm(len(packaged_photographs())).tolist()
            held_out = [pictures[index] for index in order[:_HELD_OUT]]
            seen = [picture for index, picture in enumerate(pictures) if index not in order[:_HELD_OUT]]
            count = 48 if quick else 320
            attacked = [_crop(seen[index % len(seen)]) for index in range(count)]
            attacked += [_collage(seen) for _ in range(count)]
            batches = torch.split(normalise(torch.stack(attacked))[torch.randperm(2 * count)], ATTACK_BATCH)
            images = normalise(torch.stack([_crop(held_out[index % _HELD_OUT]) for index in range(8 if quick else 32)]))
        recipe = Recipe(10 if quick else 200, 3e-4, 2.0)
        model = Staged(stem, tail).eval()
        data = _varied(torch.cat([stem(batch) for batch in batches]), seed)
        return Victim(model, tail.features, data, images, None, None, recipe)

    return Setting("photographs, 1000 classes", 1000, make, thorough=False)


def _varied(features: Tensor, seed: int) -> list[Tensor]:
    """Batches of feature maps as they are, shifted, cut together with others, mirrored, and mixed.

    The attacker has few photographs. Without this his maps lie on those alone.
    """
    generator = torch.Generator().manual_seed(seed)

    def others() -> Tensor:
        return features[torch.randperm(len(features), generator=generator)]

    side = features.shape[-1]
    cut = torch.arange(side) < torch.randint(2, side - 1, (len(features), 1, 1, 1), generator=generator)
    share = torch.rand(len(features), 1, 1, 1, generator=generator)
    shifts = torch.randint(side, (2,), generator=generator).tolist()
    variants = [
        features,
        others().roll(shifts, (2, 3)),
        torch.where(cut, features, others()),
        features.flip(3),
        share * features + (1 - share) * others(),
    ]
    everything = torch.cat(variants)
    return list(torch.split(everything[torch.randperm(len(everything), generator=generator)], ATTACK_BATCH))


def _all_photographs() -> list[Path]:
    roots = {package: Path(str(spec.origin)).parent for package in _MORE if (spec := find_spec(package))}
    return packaged_photographs() + [roots[package] / file for package, files in _MORE.items() for file in files]


def _crop(picture: Tensor) -> Tensor:
    """A part of at least two fifths, at the size that the model takes."""
    transform = v2.Compose(
        [v2.RandomResizedCrop(224, scale=(0.4, 1.0)), v2.RandomHorizontalFlip(), v2.ColorJitter(0.3, 0.3)]
    )
    crop: Tensor = transform(picture)
    return crop.as_subclass(Tensor)


def _collage(pictures: list[Tensor]) -> Tensor:
    """Four crops side by side: few photographs are not variety enough."""
    parts = [_crop(pictures[index]) for index in torch.randint(len(pictures), (4,)).tolist()]
    row, column = torch.randint(60, 164, (2,)).tolist()
    collage = parts[0].clone()
    collage[:, :row, column:] = parts[1][:, :row, column:]
    collage[:, row:, :column] = parts[2][:, row:, :column]
    collage[:, row:, column:] = parts[3][:, row:, column:]
    return collage


def own(name: str, weights: str | None, layer_name: str | None, data: Path) -> Setting:
    """The user's own model on the user's own images, a folder of them for each class."""
    classifier = load_classifier(name, weights, torch.device("cpu"))
    folder = image_folder(data)

    def make(seed: int, quick: bool) -> Victim:
        layer = choose_layer(classifier.model, blank_input(classifier.preprocess), layer_name)
        order = torch.randperm(len(folder), generator=torch.Generator().manual_seed(seed)).tolist()
        count = min(len(folder) // 2, 8 if quick else 64)
        held_out, seen = order[:count], order[count : count + (32 if quick else 640)]
        if not held_out:
            raise UsageError(f"--data: {str(data)!r} has {len(folder)} image; allowed are at least 2")
        known = len(folder.classes) == len(classifier.classes)

        def stacked(indices: list[int]) -> Tensor:
            return torch.stack([classifier.preprocess(folder[index][0]) for index in indices])

        return Victim(
            Staged(nn.Identity(), classifier.model).eval(),
            layer.module,
            list(torch.split(stacked(seen), ATTACK_BATCH)),
            stacked(held_out),
            torch.tensor([folder.targets[index] for index in held_out]) if known else None,
            None,
            Recipe(10 if quick else 300, 1e-4, 2.0),
            {"attribute_to_layer_input": layer.at_input},
        )

    return Setting(f"{name} on {data.name}", len(classifier.classes), make, injectable=False, thorough=False)


def image_folder(data: Path) -> Any:
    """An ImageFolder of torchvision, with images as the photographs are loaded.

    Raises:
        UsageError: it is none.
    """
    try:
        return torchvision.datasets.ImageFolder(str(data), loader=_readable)
    except (FileNotFoundError, OSError) as error:
        raise UsageError(f"--data: {str(data)!r} is no folder with a folder of images for each class") from error


def _readable(path: str) -> Any:
    try:
        return load_image(Path(path))
    except SkippedError as error:
        raise UsageError(f"--data: {path!r} is {error}") from error
