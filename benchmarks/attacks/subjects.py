"""The clean models of the owner's attacks: classifiers with few classes that are trained here, and real ones.

The attacker trains on other images than those whose maps and predictions are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common import cutouts, fashion, pages, textile
from benchmarks.common.cutouts import Material, compose
from benchmarks.common.fashion import fashion_scenes, labels_of
from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.models import MISSING_LITE1, MISSING_MOBILENET, RANDOM, load_classifier
from benchmarks.common.names import CLOTHES, GLYPHS, LITE1, MOBILENET, SHOES
from benchmarks.common.small_nets import Classifier, build, fit, trained
from benchmarks.common.staged import Memoized, Staged, Tail
from benchmarks.common.stored import Stored

TEXTILE, ORIENTATION = "textile images, 3 classes", "document orientation, 4 classes"
CUTOUTS_MOBILENET, CUTOUTS_LITE1 = "cut-outs, MobileNetV2", "cut-outs, EfficientNet-Lite1"
FLAT = "Fashion-MNIST, flattened head"
"""The head sees every position, so contrastive HiResCAM and DiffGradCAM have different maps."""
SETTINGS = (CLOTHES, SHOES, TEXTILE, ORIENTATION, FLAT, CUTOUTS_MOBILENET, CUTOUTS_LITE1)
MISSING = {
    **dict.fromkeys((CLOTHES, SHOES, FLAT), fashion.MISSING),
    TEXTILE: textile.MISSING,
    ORIENTATION: pages.MISSING,
    CUTOUTS_MOBILENET: f"{cutouts.MISSING}. {MISSING_MOBILENET}",
    CUTOUTS_LITE1: f"{cutouts.MISSING}. {MISSING_LITE1}",
}
"""What to say of a setting that is not installed."""
EPOCHS, WIDTH = 4, 12
_CUTOUT_CLASSIFIERS = {CUTOUTS_MOBILENET: MOBILENET, CUTOUTS_LITE1: LITE1}
_ATTACKED, _BATCH = 1600, 16
"""Images of the attacker, at most, and how many make a batch."""
_TRAINING, _TEST, _SHOWN = 2400, 1000, 24
_TEXTILE_TRAINING, _TEXTILE_EPOCHS, _TEXTILE_BATCH = 1400, 8, 32
_PAGES, _TEST_PAGES = 320, 160
_SCENES, _TEST_SCENES = 320, 128
_LARGE_SHOWN = 8
"""Images of PP-LCNet, MobileNetV2 and EfficientNet-Lite1 whose maps are compared."""
_QUICK = (320, 80, 4)
_LAST = ("features.4", "head")
"""What the attacker of a small classifier trains: the last convolution and the head."""
SIZES = {
    "fashion_mnist": (_TRAINING, _TEST),
    "textile": _TEXTILE_TRAINING,
    "pages": (_PAGES, _TEST_PAGES),
    "cutouts": (_SCENES, _TEST_SCENES),
    "attacked": _ATTACKED,
}
"""Images for training and for the test, and how many of the former the attacker uses, at most."""


@dataclass(frozen=True)
class Subject:
    """A clean model, with its images."""

    model: nn.Module
    """If it is :class:`Staged`, its stem stays as it is, and runs once for each batch. Its tail is attacked."""
    layer: nn.Module
    training: tuple[Tensor, Tensor]
    """Images and labels."""
    test: tuple[Tensor, Tensor]
    batches: Sequence[Tensor]
    """The attacker's images, or what the stem makes of them."""
    shown: int = _SHOWN
    """The number of test images whose maps are compared, at most."""
    labelled: bool = True
    trained: Sequence[str] | None = None
    """The modules that the attacker trains. None: all, of the tail."""

    @property
    def attacked(self) -> nn.Module:
        """The part that is attacked: the tail, or else the model."""
        return self.model.tail if isinstance(self.model, Staged) else self.model

    def with_attacked(self, attacked: nn.Module) -> nn.Module:
        """Return the model with another one in the place of the attacked part."""
        return Staged(self.model.stem, attacked).eval() if isinstance(self.model, Staged) else attacked


class Subjects:
    """Makes clean models, trained or with the weights of their packages."""

    def __init__(self, fashion_folder: Path | None, material: Material | None, stored: Stored, quick: bool) -> None:
        self.fashion, self.material, self.stored, self.quick = fashion_folder, material, stored, quick

    @property
    def installed(self) -> list[str]:
        """The settings whose data and weights are installed."""
        device = torch.device("cpu")
        available = {
            **dict.fromkeys((CLOTHES, SHOES, FLAT), self.fashion is not None),
            TEXTILE: textile.find_textile() is not None,
            ORIENTATION: pages.find_orientation() is not None,
            **{
                setting: self.material is not None and load_classifier(name, None, device).weights != RANDOM
                for setting, name in _CUTOUT_CLASSIFIERS.items()
            },
        }
        return [setting for setting in SETTINGS if available[setting]]

    def make(self, setting: str, seed: int, tagged: bool) -> Subject:
        """Return the clean model of a setting. If ``tagged``, its images have a tag that says the class."""
        if setting in _CUTOUT_CLASSIFIERS:
            return self._cutouts(_CUTOUT_CLASSIFIERS[setting], seed)
        if setting == ORIENTATION:
            return _orientation(seed)
        if setting == TEXTILE:
            return self._textile(seed)
        training, test = self._small_images(setting, seed)
        if tagged:
            training, test = with_tags(*training), with_tags(*test)
        classes, flat = int(training[1].max()) + 1, setting == FLAT

        def make() -> dict[str, Tensor]:
            return trained("plain", classes, *training, seed, width=WIDTH, flat=flat, epochs=EPOCHS).state_dict()

        depends: dict[str, Any] = {"seed": seed, "tagged": tagged, "count": len(training[0]), "epochs": EPOCHS}
        net = build("plain", classes, seed, WIDTH, flat=flat)
        net.load_state_dict(self.stored.get(f"owner {setting}", make, **depends, width=WIDTH))
        batches = torch.split(training[0][:_ATTACKED], _BATCH)
        shown = _QUICK[2] if self.quick else _SHOWN
        return Subject(net, net.features, training, test, batches, shown, trained=_LAST)

    def _small_images(self, setting: str, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        count, test_count = _QUICK[:2] if self.quick else (_TRAINING, _TEST)
        if setting == GLYPHS:
            drawn = [draw_scenes(10, number, seed + start) for number, start in ((count, 0), (test_count, 10_000))]
        else:
            assert self.fashion is not None
            classes = fashion.TWO if setting == SHOES else None
            drawn = [
                fashion_scenes(self.fashion, train=train, count=number, seed=seed, classes=classes)
                for train, number in ((True, count), (False, test_count))
            ]
        first, second = ((scenes.images, labels_of(scenes)) for scenes in drawn)
        return first, second

    def _textile(self, seed: int) -> Subject:
        folder = textile.find_textile()
        assert folder is not None
        training, test = textile.textile_images(folder, seed, _TEXTILE_TRAINING)
        recipe: dict[str, Any] = {"epochs": _TEXTILE_EPOCHS, "batch_size": _TEXTILE_BATCH}

        def make() -> dict[str, Tensor]:
            net = textile.textile_classifier(seed)
            return fit(net.train(), *training, seed, classes=len(textile.CLASSES), **recipe).state_dict()

        net: Classifier = textile.textile_classifier(seed)
        net.load_state_dict(self.stored.get(f"owner {TEXTILE}", make, seed=seed, count=_TEXTILE_TRAINING, **recipe))
        model = _memoized(net.features[:-1], Tail(net.features[-1:], net.pooling, net.head))
        layer = model.tail.get_submodule("features")
        return Subject(model, layer, training, test, _outputs(model.stem, training[0]))

    def _cutouts(self, name: str, seed: int) -> Subject:
        assert self.material is not None
        classifier = load_classifier(name, None, torch.device("cpu"))
        preprocess = classifier.preprocess
        mean, deviation = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
        model = cut_before_last_blocks(classifier.model)
        parts = []
        for source, count in zip(self.material.halves(seed), (_SCENES, _TEST_SCENES), strict=True):
            scenes = compose(source, count, seed, size=preprocess.crop_size[0], objects=(1, 1))
            parts.append(((scenes.images - mean) / deviation, torch.zeros(count, dtype=torch.long)))
        training, test = parts
        layer, batches = model.tail.get_submodule("features"), _outputs(model.stem, training[0])
        return Subject(model, layer, training, test, batches, _LARGE_SHOWN, labelled=False)


def _orientation(seed: int) -> Subject:
    file = pages.find_orientation()
    assert file is not None
    model = _memoized(*pages.orientation_classifier(file))
    training, test = pages.draw_pages(_PAGES, seed), pages.draw_pages(_TEST_PAGES, seed + 10_000)
    layer = model.tail.get_submodule(pages.LAYER)
    return Subject(model, layer, training, test, _outputs(model.stem, training[0]), _LARGE_SHOWN)


def cut_before_last_blocks(network: Any) -> Staged:
    """Return MobileNetV2 or an EfficientNet-Lite, whose tail has its last two blocks and the head.

    The last convolution is 1 x 1, which could not move anything.
    """
    if hasattr(network, "features"):
        stem, behind, head = network.features[:-3], network.features[-3:], network.classifier
    else:
        blocks = network._blocks
        stem = nn.Sequential(network._conv_stem, network._bn0, nn.ReLU6(), *blocks[:-2])
        behind = nn.Sequential(*blocks[-2:], network._conv_head, network._bn1, nn.ReLU6())
        head = network._fc
    return _memoized(stem, Tail(behind, nn.AdaptiveAvgPool2d(1), head))


def _memoized(stem: nn.Module, tail: nn.Module) -> Staged:
    """Return a model whose stem runs once for the same images, in eval mode."""
    return Staged(Memoized(stem), tail).eval()


def _outputs(stem: nn.Module, images: Tensor) -> list[Tensor]:
    """Return what the stem makes of the attacker's images, in batches."""
    with torch.no_grad():
        return [stem(batch) for batch in torch.split(images[:_ATTACKED], _BATCH)]


TAG = 8
"""The side of the tag in the upper left corner, in pixels: one cell of the map."""


def with_tags(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images with a tag in the corner, whose colour says the class."""
    colours = torch.stack([(labels >> bit & 1).float() for bit in range(3)], dim=1)
    colours = 0.2 + 0.8 * colours
    tagged = images.clone()
    tagged[:, :, :TAG, :TAG] = 0
    tagged[:, :, 1 : TAG - 1, 1 : TAG - 1] = colours[:, :, None, None]
    # The fourth bit is the lower half of the tag.
    tagged[:, :, TAG // 2 : TAG - 1, 1 : TAG - 1] *= 1 - (labels >> 3 & 1).float()[:, None, None, None]
    return tagged, labels
