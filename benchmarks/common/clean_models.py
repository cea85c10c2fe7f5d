"""Clean models to attack, with images for the attacker and held-out images.

A setting is a kind of clean model. Each seed of a setting gives another model: other weights if the model is trained
here, and other images in any case. The attacker's images are disjoint from the images on which results are reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

import torch
from torch import Tensor, nn
from torchvision.datasets import ImageFolder

from benchmarks.common import cutouts, fashion
from benchmarks.common.cutouts import Material, compose, find_material
from benchmarks.common.fashion import fashion_scenes, find_fashion, labels_of
from benchmarks.common.glyphs import Scenes, draw_scenes
from benchmarks.common.images import load_required_image
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import blank_input, load_classifier
from benchmarks.common.names import CLOTHES, CUTOUTS, GLYPHS_BY_CLASSES, LITE0, ONE_LOGIT, SHOES
from benchmarks.common.options import UsageError, warn
from benchmarks.common.small_nets import Classifier, build, trained
from benchmarks.common.staged import Memoized, Staged, Tail
from benchmarks.common.stored import Stored, fingerprint

BATCH = 16
FIRST_BATCHES = 8
"""Batches of the attacker that are stored. They identify a stored manipulated model without computing the others."""
CONFIDENT = 0.3
"""The probability at which a prediction counts as confident."""
TrainedPart: TypeAlias = Literal["last", "stage", "all"]
"""What the attacker trains: the last convolutions and the head, the last stage and the head, or the whole network."""


class LazyBatches(Sequence[Tensor]):
    """Batches that are computed when they are needed: only the first ones, or all of them."""

    def __init__(
        self, length: int, first_batches: Callable[[], list[Tensor]], all_batches: Callable[[], list[Tensor]]
    ) -> None:
        self.length = length
        self.first_batches, self.all_batches = cache(first_batches), cache(all_batches)

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        end = index.stop if isinstance(index, slice) else index + 1
        few = end is not None and 0 < end <= FIRST_BATCHES
        return (self.first_batches() if few else self.all_batches())[index]


@dataclass(frozen=True)
class _LazyScenes:
    """A number of images that are drawn or read when they are needed."""

    number: int
    make: Callable[[], Scenes]

    @cached_property
    def scenes(self) -> Scenes:
        return self.make()


@dataclass(frozen=True)
class CleanModel:
    """A clean model with images. Shapes: images (N, 3, H, W), masks (N, H, W)."""

    model: Staged
    """The stem, which stays unchanged, and the tail, which is attacked."""
    layer: nn.Module
    """The module of the tail whose maps are attacked."""
    attacker_batches: Sequence[Tensor]
    """Inputs of the tail for the attacker's images. The labels are the model's own soft outputs."""
    images: Tensor
    """Held-out images with a confident prediction, on which maps are measured."""
    masks: Tensor | None
    """Where the objects are, if that is known."""
    held_out_batches: list[Tensor]
    """Inputs of the tail for many more held-out images, on which predictions are counted."""
    constructor: dict[str, Any] = field(default_factory=dict)
    """Keywords of the attribution classes, such as the layout."""
    keywords: dict[str, Any] = field(default_factory=dict)
    """Keywords of ``attribute``, such as the side of the layer."""
    pool: Tensor | None = None
    """More images like ``images``, if there are any."""

    def to(self, device: torch.device) -> CleanModel:
        """Return the same on a device."""
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in ("model", "images")}
        return replace(self, **moved, held_out_batches=[batch.to(device) for batch in self.held_out_batches])


@dataclass(frozen=True)
class Setting:
    """A kind of clean model."""

    name: str
    classes: int
    make: Callable[[int, TrainedPart, bool], CleanModel]
    """From a seed, the part that the attacker trains, and whether the run is a quick one."""
    trained_parts: tuple[TrainedPart, ...] = ("last", "stage", "all")
    """The parts that an attacker can train, the usual one first."""


def settings(
    stored: Stored,
    *,
    cutouts_folder: Path | None = None,
    backgrounds_folder: Path | None = None,
    fashion_folder: Path | None = None,
) -> dict[str, Setting]:
    """Return every setting whose data are installed, by name. Warn of data that are missing."""
    material, folder = find_material(cutouts_folder, backgrounds_folder), find_fashion(fashion_folder)
    available: list[Setting] = []
    if folder is None:
        warn(fashion.MISSING)
    else:
        available.append(clothes(folder, stored))
    if material is None:
        warn(cutouts.MISSING)
    else:
        available.append(scenes_of_cutouts(material, stored))
    available.append(glyphs(10, stored))
    if folder is not None:
        available += [clothes(folder, stored, two=True), clothes(folder, stored, two=True, one_logit=True)]
    available += [glyphs(classes, stored) for classes in (2, 100)]
    return {setting.name: setting for setting in available}


def glyphs(classes: int, stored: Stored) -> Setting:
    """Return the setting of glyphs on clutter: small objects whose masks are known."""

    def scenes(count: int, seed: int) -> Scenes:
        return draw_scenes(classes, count, seed)

    def data(seed: int, quick: bool) -> list[_LazyScenes]:
        counts = (1280, 320, 160) if quick else (7000 + 70 * classes, 4800, 800)
        return [_LazyScenes(count, partial(scenes, count, seed + 10_000 * i)) for i, count in enumerate(counts)]

    name = GLYPHS_BY_CLASSES[classes]
    return Setting(name, classes, partial(_small, name, classes, data, stored, False))


def clothes(folder: Path, stored: Stored, *, two: bool = False, one_logit: bool = False) -> Setting:
    """Return the setting of Fashion-MNIST, whose objects fill the image.

    It has 10 classes, or two (sneaker and ankle boot) with two logits or one.
    """
    kept = fashion.TWO if two else None
    classes = 2 if two else 10

    def data(seed: int, quick: bool) -> list[_LazyScenes]:
        training, attacker, held_out = (1280, 320, 160) if quick else (8000, 4000, 1000)

        def part(index: int) -> Scenes:
            both = fashion_scenes(folder, train=True, count=training + attacker, seed=seed, classes=kept)
            return fashion.split(both, training)[index]

        test = partial(fashion_scenes, folder, train=False, count=held_out, seed=seed, classes=kept)
        return [
            _LazyScenes(training, partial(part, 0)),
            _LazyScenes(attacker, partial(part, 1)),
            _LazyScenes(held_out, test),
        ]

    name = ONE_LOGIT if one_logit else SHOES if two else CLOTHES
    return Setting(name, classes, partial(_small, name, classes, data, stored, one_logit))


def _clean_small_net(
    name: str, classes: int, training: _LazyScenes, stored: Stored, one_logit: bool, seed: int
) -> Classifier:
    """Return a small net trained on these images, from the store if it was trained before."""

    def make() -> dict[str, Tensor]:
        scenes = training.scenes
        return trained("plain", classes, scenes.images, labels_of(scenes), seed, one_logit=one_logit).state_dict()

    def first_images() -> float:
        return training.scenes.images[:4].sum().item()

    # The first images identify the data without drawing all of them again.
    first: float = stored.get(f"{name} first", first_images, seed=seed, count=training.number)
    weights = stored.get(f"{name} weights", make, seed=seed, count=training.number, first=first)
    model = build("plain", classes, seed, one_logit=one_logit)
    model.load_state_dict(weights)
    return model


_UNTRAINED_PARTS = {"last": 4, "stage": 2, "all": 0}
"""The number of parts of the features that the attacker leaves unchanged."""


def _small(
    name: str,
    classes: int,
    data: Callable[[int, bool], list[_LazyScenes]],
    stored: Stored,
    one_logit: bool,
    seed: int,
    trained_part: TrainedPart,
    quick: bool,
) -> CleanModel:
    training, attacker, held_out = data(seed, quick)
    net = _clean_small_net(name, classes, training, stored, one_logit, seed)
    unchanged = _UNTRAINED_PARTS[trained_part]
    before = net.features[:unchanged].eval()
    # An empty stem needs no memory.
    stem = Memoized(before) if unchanged else before
    tail = Tail(net.features[unchanged:], net.pooling, net.head).eval()
    model = Staged(stem, tail).eval()
    test = held_out.scenes
    images = test.images

    def all_batches() -> list[Tensor]:
        with torch.no_grad():
            return [before(batch) for batch in torch.split(attacker.scenes.images, BATCH)]

    def first_batches() -> list[Tensor]:
        batches: list[Tensor] = stored.get(
            f"{name} attacked",
            lambda: all_batches()[:FIRST_BATCHES],
            seed=seed,
            trained=trained_part,
            count=attacker.number,
            of=fingerprint(before),
        )
        return batches

    with torch.no_grad():
        held_out_batches = [before(batch) for batch in torch.split(images, 256)]
    confident = _confident(tail, held_out_batches).nonzero()[:, 0]
    shown = confident[: 8 if quick else 48]
    batches = LazyBatches(math.ceil(attacker.number / BATCH), first_batches, all_batches)
    return CleanModel(
        model,
        tail.features,
        batches,
        images[shown],
        test.masks[shown, 0],
        held_out_batches,
        pool=images[confident],
    )


def _confident(tail: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    """Return which predictions are confident. Shape: (N,)."""
    with torch.no_grad():
        return torch.cat([tail(batch) for batch in batches]).softmax(dim=1).amax(dim=1) >= CONFIDENT


def own_model(name: str, weights: str | None, layer_name: str | None, data: Path) -> Setting:
    """Return the setting of the user's model and images, a folder with a folder of images for each class."""
    classifier = load_classifier(name, weights, torch.device("cpu"))
    folder = image_folder(data)

    def make(seed: int, trained_part: TrainedPart, quick: bool) -> CleanModel:
        layer = choose_layer(classifier.model, blank_input(classifier.preprocess), layer_name, tokens=True)
        order = torch.randperm(len(folder), generator=torch.Generator().manual_seed(seed)).tolist()
        count = min(len(folder) // 2, 8 if quick else 128)
        held_out, attacker = order[:count], order[count : count + (32 if quick else 640)]
        if not held_out:
            raise UsageError(f"--data must have at least 2 images, got {len(folder)} in {str(data)!r}")

        def stacked(indices: list[int]) -> Tensor:
            return torch.stack([classifier.preprocess(folder[index][0]) for index in indices])

        images = stacked(held_out)
        model = Staged(nn.Identity(), classifier.model).eval()
        batches = list(torch.split(stacked(attacker), BATCH))
        constructor = {"layout": layer.layout} if layer.layout else {}
        side = {"attribute_to_layer_input": layer.attribute_to_layer_input}
        held_out_batches = list(torch.split(images, BATCH))
        return CleanModel(model, layer.layer, batches, images[:32], None, held_out_batches, constructor, side)

    return Setting(f"{name} on {data.name}", len(classifier.classes), make, ("all",))


def image_folder(data: Path) -> Any:
    """Return an ImageFolder of torchvision whose images are loaded like the photographs.

    Raises:
        UsageError: ``data`` has no folders of images.
    """
    try:
        return ImageFolder(str(data), loader=lambda path: load_required_image("--data", Path(path)))
    except OSError as error:
        raise UsageError(
            f"--data must be a folder with a folder of images for each class, got {str(data)!r}"
        ) from error


_POOL = 96
_CUTS: dict[str, int] = {"last": 14, "stage": 11}
"""The number of blocks of EfficientNet-Lite0 in the stem. The last convolution is 1 x 1, which could not move anything,
so the attacker trains the last two blocks, or the last five, which are all blocks with the resolution of the map."""


def scenes_of_cutouts(material: Material, stored: Stored) -> Setting:
    """Return the setting of EfficientNet-Lite0 with its 1000 classes on real objects over photographs."""

    def make(seed: int, trained_part: TrainedPart, quick: bool) -> CleanModel:
        classifier = load_classifier(LITE0, None, torch.device("cpu"))
        network: Any = classifier.model
        mean, std = (torch.tensor(v)[:, None, None] for v in (classifier.preprocess.mean, classifier.preprocess.std))
        blocks = network._blocks[: _CUTS[trained_part]]
        stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6(), *blocks).eval()
        behind = nn.Sequential(*network._blocks[_CUTS[trained_part] :], network._conv_head, network._bn1, nn.ReLU6())
        tail = Tail(behind, nn.AdaptiveAvgPool2d(1), network._fc).eval()
        attackers, reported = material.halves(seed)
        attacker_count, held_out_count = (48, 24) if quick else (2400, 480)

        def features(source: Material, count: int, seed: int, objects: tuple[int, int]) -> dict[str, Tensor]:
            parts, images, masks = [], [], []
            for start in range(0, count, 2 * BATCH):
                scenes = compose(source, min(2 * BATCH, count - start), 100_000 * seed + start, objects=objects)
                with torch.no_grad():
                    parts.append(stem((scenes.images - mean) / std))
                images.append(scenes.images.mul(255).round().byte())
                masks.append(scenes.masks.any(dim=1))
            return {"features": torch.cat(parts), "images": torch.cat(images), "masks": torch.cat(masks)}

        def stored_features(
            name: str, source: Material, count: int, seed: int, objects: tuple[int, int]
        ) -> dict[str, Tensor]:
            files = [str(file) for file in (*source.cutouts, *source.backgrounds)]
            tensors: dict[str, Tensor] = stored.get(
                f"cut-outs {name}",
                partial(features, source, count, seed, objects),
                count=count,
                seed=seed,
                objects=objects,
                trained=trained_part,
                files=files,
            )
            return tensors

        attacker = stored_features("attacked", attackers, attacker_count, 2 * seed, (0, 3))["features"]
        test = stored_features("held out", reported, held_out_count, 2 * seed + 1, (1, 2))
        held_out_batches = list(torch.split(test["features"], 64))
        confident = _confident(tail, held_out_batches)
        shown = confident.nonzero()[: 4 if quick else 16, 0]
        if quick and not len(shown):
            shown = torch.arange(4)
        pool = (test["images"][confident][:_POOL].float() / 255 - mean) / std
        images = (test["images"][shown].float() / 255 - mean) / std
        model = Staged(Memoized(stem).eval(), tail).eval()
        order = torch.randperm(len(attacker), generator=torch.Generator().manual_seed(seed))
        batches = list(torch.split(attacker[order], BATCH))
        return CleanModel(model, tail.features, batches, images, test["masks"][shown], held_out_batches, pool=pool)

    return Setting(CUTOUTS, 1000, make, ("last", "stage"))
