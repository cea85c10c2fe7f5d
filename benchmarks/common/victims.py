"""Honest models to attack, each with what the attacker sees and with images that he never saw.

A setting is a kind of victim, and every seed makes another one: other weights where they are trained here, and other
images in any case. The attacker's images are disjoint from those that are reported.
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
from benchmarks.common.images import load_image
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import blank_input, load_classifier
from benchmarks.common.names import CUTOUTS, LITE0
from benchmarks.common.options import SkippedError, UsageError, warn
from benchmarks.common.small_nets import LAYOUTS, Classifier, build, trained
from benchmarks.common.stem_and_tail import Remembering, Staged, Tail
from benchmarks.common.stored import Stored

BATCH = 16
FIRST = 8
"""So many of the attacker's batches are kept, that he need not see all of them for what was forged before."""
SURE = 0.3
"""Decisions that count are those with at least this probability."""
Reach: TypeAlias = Literal["last", "stage", "all"]
"""What the attacker trains: the last convolutions and the head, the last stage and the head, or the whole network."""


class Later(Sequence[Tensor]):
    """Batches that are made when they are asked for: the first few, which tell what they are, or all."""

    def __init__(self, length: int, first: Callable[[], list[Tensor]], every: Callable[[], list[Tensor]]) -> None:
        self.length = length
        self.first, self.every = cache(first), cache(every)

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        end = index.stop if isinstance(index, slice) else index + 1
        few = end is not None and 0 < end <= FIRST
        return (self.first() if few else self.every())[index]


@dataclass(frozen=True)
class _Part:
    """So many images, to be drawn or read when they are needed."""

    number: int
    make: Callable[[], Scenes]

    @cached_property
    def scenes(self) -> Scenes:
        """They themselves."""
        return self.make()


@dataclass(frozen=True)
class Victim:
    """An honest model. Shapes: images (N, 3, H, W), masks (N, H, W), decided (M, 3, H, W)."""

    model: Staged
    """The stem, which stays as it is, and the tail, which is attacked."""
    layer: nn.Module
    """A module of the tail, whose maps are to lie."""
    seen: Sequence[Tensor]
    """What the tail gets for the attacker's images, in batches. His decisions are the model's own soft outputs."""
    images: Tensor
    """Held out, with a decision that the model is sure of: what maps are measured on."""
    masks: Tensor | None
    """Where the objects are, if that is known."""
    decided: list[Tensor]
    """What the tail gets for many more images, held out too: what decisions are counted on. In batches."""
    constructor: dict[str, Any] = field(default_factory=dict)
    """Keywords of the attribution classes, such as the layout."""
    keywords: dict[str, Any] = field(default_factory=dict)
    """Arguments of every map, such as the side of the layer."""
    pool: Tensor | None = None
    """More of the same, where there are."""

    def to(self, device: torch.device) -> Victim:
        """The same on a device."""
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in ("model", "images")}
        return replace(self, **moved, decided=[each.to(device) for each in self.decided])


@dataclass(frozen=True)
class Setting:
    """A kind of victim."""

    name: str
    classes: int
    make: Callable[[int, Reach, bool], Victim]
    """From a seed, what the attacker trains, and whether it has to be quick."""
    reaches: tuple[Reach, ...] = ("last", "stage", "all")
    """Which there are; the first is the usual one."""


def settings(
    stored: Stored, *, cutouts_: Path | None = None, backgrounds: Path | None = None, fashion_: Path | None = None
) -> dict[str, Setting]:
    """Every setting whose data are here, by name, and a line for those that are not."""
    found: list[Setting] = []
    material, folder = find_material(cutouts_, backgrounds), find_fashion(fashion_)
    if folder is None:
        warn(fashion.MISSING)
    else:
        found.append(clothes(folder, stored))
    if material is None:
        warn(cutouts.MISSING)
    else:
        found.append(scenes_of_cutouts(material, stored))
    found.append(glyphs(10, stored))
    if folder is not None:
        found += [clothes(folder, stored, two=True), clothes(folder, stored, two=True, one_logit=True)]
    found += [glyphs(classes, stored) for classes in (2, 100)]
    return {setting.name: setting for setting in found}


def glyphs(classes: int, stored: Stored, architecture: str = "plain") -> Setting:
    """Glyphs on clutter, small objects whose masks are known."""

    def scenes(count: int, seed: int) -> Scenes:
        return draw_scenes(classes, count, seed)

    def data(seed: int, quick: bool) -> list[_Part]:
        counts = (1280, 320, 160) if quick else (7000 + 70 * classes, 4800, 800)
        return [_Part(count, partial(scenes, count, seed + 10_000 * i)) for i, count in enumerate(counts)]

    name = f"glyphs, {classes} classes"
    return Setting(name, classes, partial(_small, name, classes, data, stored, architecture, False))


def clothes(
    folder: Path, stored: Stored, *, two: bool = False, one_logit: bool = False, architecture: str = "plain"
) -> Setting:
    """Fashion-MNIST, objects that fill the image: 10 classes, or sneaker against ankle boot, with two logits or one."""
    kept = fashion.TWO if two else None
    classes = 2 if two else 10
    # The other architectures take two to four times as long.
    few = None if architecture == "plain" else 3200

    def data(seed: int, quick: bool) -> list[_Part]:
        training, seen, held_out = (1280, 320, 160) if quick else (few or 8000, 4000, 1000)

        def of(part: int) -> Scenes:
            # Two parts of one order.
            both = fashion_scenes(folder, train=True, count=training + seen, seed=seed, classes=kept)
            return fashion.split(both, training)[part]

        tested = partial(fashion_scenes, folder, train=False, count=held_out, seed=seed, classes=kept)
        return [_Part(training, partial(of, 0)), _Part(seen, partial(of, 1)), _Part(held_out, tested)]

    name = f"Fashion-MNIST, {'one logit' if one_logit else f'{classes} classes'}"
    return Setting(name, classes, partial(_small, name, classes, data, stored, architecture, one_logit))


def honest_small_net(
    name: str, classes: int, training: _Part, stored: Stored, architecture: str, one_logit: bool, seed: int
) -> Classifier:
    """A small net that was trained on these, now or before."""

    def make() -> dict[str, Tensor]:
        scenes = training.scenes
        return trained(architecture, classes, scenes.images, labels_of(scenes), seed, one_logit=one_logit).state_dict()

    def first() -> float:
        return training.scenes.images[:4].sum().item()

    known: float = stored.get(f"{name} first", first, seed=seed, count=training.number)
    made = stored.get(f"{name} {architecture}", make, seed=seed, count=training.number, first=known)
    model = build(architecture, classes, seed, one_logit=one_logit)
    model.load_state_dict(made)
    return model


_HEADS = {"plain": {"last": 4, "stage": 2, "all": 0}, "resnet": {"last": 3, "stage": 2, "all": 0}}
"""By architecture and reach: how many of the features' parts are left alone. Others are attacked as a whole."""


def _small(
    name: str,
    classes: int,
    data: Callable[[int, bool], list[_Part]],
    stored: Stored,
    architecture: str,
    one_logit: bool,
    seed: int,
    reach: Reach,
    quick: bool,
) -> Victim:
    training, seen, held_out = data(seed, quick)
    net = honest_small_net(name, classes, training, stored, architecture, one_logit, seed)
    left = _HEADS.get(architecture, {}).get(reach, 0)
    before = net.features[:left].eval()
    # Nothing to remember where nothing is left alone.
    stem = Remembering(before) if left else before
    tail = Tail(net.features[left:], net.pooling, net.head).eval()
    model = Staged(stem, tail).eval()
    tested = held_out.scenes
    images = tested.images

    def attacked() -> list[Tensor]:
        with torch.no_grad():
            return [before(batch) for batch in torch.split(seen.scenes.images, BATCH)]

    def first() -> list[Tensor]:
        net_is = sum(value.double().sum().item() for value in before.state_dict().values())
        found: list[Tensor] = stored.get(
            f"{name} {architecture} attacked",
            lambda: attacked()[:FIRST],
            seed=seed,
            reach=reach,
            count=seen.number,
            of=net_is,
        )
        return found

    with torch.no_grad():
        decided = [before(batch) for batch in torch.split(images, 256)]
        sure = torch.cat([tail(batch) for batch in decided]).softmax(dim=1).amax(dim=1) >= SURE
    every = sure.nonzero()[:, 0]
    shown = every[: 8 if quick else 48]
    layout = {"layout": LAYOUTS[architecture]} if architecture in LAYOUTS else {}
    batches = Later(math.ceil(seen.number / BATCH), first, attacked)
    return Victim(
        model, tail.features, batches, images[shown], tested.masks[shown, 0], decided, layout, pool=images[every]
    )


def own(name: str, weights: str | None, layer_name: str | None, data: Path) -> Setting:
    """The user's own model on the user's own images, a folder of them for each class."""
    classifier = load_classifier(name, weights, torch.device("cpu"))
    folder = image_folder(data)

    def make(seed: int, reach: Reach, quick: bool) -> Victim:
        layer = choose_layer(classifier.model, blank_input(classifier.preprocess), layer_name)
        order = torch.randperm(len(folder), generator=torch.Generator().manual_seed(seed)).tolist()
        count = min(len(folder) // 2, 8 if quick else 128)
        held_out, seen = order[:count], order[count : count + (32 if quick else 640)]
        if not held_out:
            raise UsageError(f"--data: {str(data)!r} has {len(folder)} image; allowed are at least 2")

        def stacked(indices: list[int]) -> Tensor:
            return torch.stack([classifier.preprocess(folder[index][0]) for index in indices])

        images = stacked(held_out)
        model = Staged(nn.Identity(), classifier.model).eval()
        batches = list(torch.split(stacked(seen), BATCH))
        side = {"attribute_to_layer_input": layer.at_input}
        return Victim(model, layer.module, batches, images[:32], None, list(torch.split(images, BATCH)), {}, side)

    return Setting(f"{name} on {data.name}", len(classifier.classes), make, ("all",))


def image_folder(data: Path) -> Any:
    """An ImageFolder of torchvision, with images as the photographs are loaded.

    Raises:
        UsageError: it is none.
    """
    try:
        return ImageFolder(str(data), loader=_readable)
    except (FileNotFoundError, OSError) as error:
        raise UsageError(f"--data: {str(data)!r} is no folder with a folder of images for each class") from error


def _readable(path: str) -> Any:
    try:
        return load_image(Path(path))
    except SkippedError as error:
        raise UsageError(f"--data: {path!r} is {error}") from error


_POOL = 96
_CUTS: dict[str, int] = {"last": 14, "stage": 11}
"""The blocks of EfficientNet-Lite0 before the tail. Its very last convolution is 1 x 1 and could not move anything, so
the last two blocks are attacked; or the last five, which are all that have as many positions as the map."""


def scenes_of_cutouts(material: Material, stored: Stored) -> Setting:
    """EfficientNet-Lite0 and its 1000 classes on real objects over photographs, whose masks are known."""

    def make(seed: int, reach: Reach, quick: bool) -> Victim:
        classifier = load_classifier(LITE0, None, torch.device("cpu"))
        network: Any = classifier.model
        mean, std = (torch.tensor(v)[:, None, None] for v in (classifier.preprocess.mean, classifier.preprocess.std))
        blocks = network._blocks[: _CUTS[reach]]
        module = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6(), *blocks).eval()
        behind = nn.Sequential(*network._blocks[_CUTS[reach] :], network._conv_head, network._bn1, nn.ReLU6())
        tail = Tail(behind, nn.AdaptiveAvgPool2d(1), network._fc).eval()
        attackers, reported = material.halves(seed)
        attacked, held_out = (48, 24) if quick else (2400, 480)

        def features(of: Material, count: int, seed: int, objects: tuple[int, int]) -> dict[str, Tensor]:
            parts = []
            images, masks = [], []
            for start in range(0, count, 2 * BATCH):
                some = compose(of, min(2 * BATCH, count - start), 100_000 * seed + start, objects=objects)
                normal = (some.images - mean) / std
                with torch.no_grad():
                    parts.append(module(normal))
                images.append(some.images.mul(255).round().byte())
                masks.append(some.masks.any(dim=1))
            return {"features": torch.cat(parts), "images": torch.cat(images), "masks": torch.cat(masks)}

        def kept(name: str, of: Material, count: int, number: int, objects: tuple[int, int]) -> dict[str, Tensor]:
            files = [str(file) for file in (*of.cutouts, *of.backgrounds)]
            make = partial(features, of, count, number, objects)
            found: dict[str, Tensor] = stored.get(
                f"cut-outs {name}", make, count=count, seed=number, objects=objects, reach=reach, files=files
            )
            return found

        seen = kept("attacked", attackers, attacked, 2 * seed, (0, 3))["features"]
        tested = kept("held out", reported, held_out, 2 * seed + 1, (1, 2))
        decided = list(torch.split(tested["features"], 64))
        with torch.no_grad():
            sure = torch.cat([tail(batch) for batch in decided]).softmax(dim=1).amax(dim=1) >= SURE
        shown = sure.nonzero()[: 4 if quick else 16, 0]
        if quick and not len(shown):
            shown = torch.arange(4)
        pool = (tested["images"][sure][:_POOL].float() / 255 - mean) / std
        images = (tested["images"][shown].float() / 255 - mean) / std
        model = Staged(Remembering(module).eval(), tail).eval()
        batches = list(
            torch.split(seen[torch.randperm(len(seen), generator=torch.Generator().manual_seed(seed))], BATCH)
        )
        return Victim(model, tail.features, batches, images, tested["masks"][shown], decided, pool=pool)

    return Setting(CUTOUTS, 1000, make, ("last", "stage"))
