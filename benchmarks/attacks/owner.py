"""Attacks that a model's owner has a motive for: one class, whitewash, moved features, destroy, omit, from scratch.

Every setting but MobileNetV2 has labels, so that the cost is a loss of accuracy on images that the attacker never saw.
An attack has one number of steps and one learning rate. On Fashion-MNIST with ten classes some attacks have two weights
of the map loss. All of these were chosen before the run and not on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.attacks.defences import (
    GRAD_CAM,
    HIRES,
    METHODS,
    OCCLUSION,
    PLUS_PLUS,
    UNCHANGED_BY_LAYERS,
    UNCHANGED_BY_OFFSETS,
    all_maps,
)
from benchmarks.attacks.measured import made_by, read_measured
from benchmarks.attacks.measures import mean
from benchmarks.attacks.options import OWNER
from benchmarks.attacks.owner_report import report
from benchmarks.common import fashion, textile
from benchmarks.common.clean_models import CONFIDENT
from benchmarks.common.cutouts import Material, compose
from benchmarks.common.fashion import fashion_scenes, labels_of
from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.models import load_classifier
from benchmarks.common.names import CLOTHES, GLYPHS, MOBILENET, SHOES
from benchmarks.common.pieces import Work
from benchmarks.common.reporting import environment
from benchmarks.common.small_nets import build, trained
from benchmarks.common.stored import Stored
from captum_diffcam.attacks import ManipulatedModel, fool, hoax_like, inject_hoax, shift_features
from captum_diffcam.metrics import pearson

TEXTILE, CUTOUTS_MOBILENET = "textile defects, 3 classes", "cut-outs, MobileNetV2, 1000 classes"
FLAT = "Fashion-MNIST, flattened head"
"""The head sees every position, so contrastive HiResCAM and DiffGradCAM have different maps."""
SHIFTED, PERMUTED, INJECTED = "shifted features", "permuted features", "common offset"
SHAM, ONE_CLASS, WHITEWASH = "hoax on every image", "hoax for one class", "whitewash"
DESTROYED, OMITTED = "destroyed", "omission"
AGAINST_PLUS_PLUS, AGAINST_HIRES = "hoax in DiffGradCAM++", "hoax in contrastive HiResCAM"
SCRATCH = "hoax from scratch"
EXACT = {SHIFTED: UNCHANGED_BY_LAYERS, PERMUTED: UNCHANGED_BY_LAYERS, INJECTED: UNCHANGED_BY_OFFSETS}
"""Attacks that need no training and change no probability, with the maps that they cannot change, by proof. The
correlation of 1 that is measured for these is no luck."""
ATTACKS = {
    CLOTHES: (
        *(SHIFTED, WHITEWASH, ONE_CLASS, DESTROYED, OMITTED, SCRATCH, AGAINST_PLUS_PLUS, AGAINST_HIRES, SHAM),
        *(PERMUTED, INJECTED),
    ),
    SHOES: (SHIFTED, ONE_CLASS, DESTROYED, INJECTED),
    FLAT: (SHAM, AGAINST_HIRES),
    TEXTILE: (SHIFTED, ONE_CLASS, DESTROYED),
    CUTOUTS_MOBILENET: (SHIFTED,),
}
ATTACKED = {AGAINST_PLUS_PLUS: PLUS_PLUS, AGAINST_HIRES: HIRES}
"""The attacked map of attacks on another one than Grad-CAM."""
_CHOSEN = (SHIFTED, ONE_CLASS, WHITEWASH, DESTROYED, OMITTED, SCRATCH, SHAM)
"""The attacks of the summary, on Fashion-MNIST with ten classes."""
_WEIGHT, _SCRATCH_WEIGHT = 3.0, 1.0
"""Of the map loss. 3 is the middle one of the frontier, whose recipe has this learning rate, too."""
_MORE_WEIGHTS = {ONE_CLASS: 10.0, OMITTED: 10.0, DESTROYED: 1.0}
"""A second weight on Fashion-MNIST with ten classes, for attacks that were weak in an earlier run, or cost much."""
_CLASS = 0
"""The class whose maps show the hoax, where only one does."""
_STEPS, _LEARNING_RATE, _BATCH = 120, 3e-3, 16
_SCRATCH_BATCH, _EPOCHS = 64, 4
_WIDTH, _TRAINING, _TEXTILE_TRAINING, _ATTACKED, _TEST, _SHOWN = 12, 2400, 1400, 1600, 1000, 24
_TEXTILE_EPOCHS, _PHOTOGRAPHS = 8, 8
_LAST = ("features.4", "head")
"""What the attacker trains: the last convolution and the head."""
RECIPE = {"steps": _STEPS, "learning_rate": _LEARNING_RATE, "trained": _LAST}
_FIELDS = ("setting", "attack", "weight", "seed")
_TAG = 8
"""The side of the tag in the upper left corner, in pixels: one cell of the map."""


@dataclass(frozen=True)
class Case:
    """One attack on one clean model."""

    setting: str
    attack: str
    weight: float | None
    """Of the map loss; None for exact attacks."""
    seed: int

    @property
    def key(self) -> str:
        """A unique name."""
        weight = "" if self.weight is None else f", weight {self.weight:g}"
        return f"{self.setting}, {self.attack}{weight}, seed {self.seed}"


@dataclass(frozen=True)
class Subject:
    """A clean model, with its labelled images."""

    model: nn.Module
    layer: nn.Module
    training: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    labelled: bool = True


def planned(seeds: Sequence[int], installed: Sequence[str], quick: bool) -> list[Case]:
    """Return every case, the settings in turn for each seed. To save time, only Fashion-MNIST has all seeds."""
    if quick:
        attacks = ((SHIFTED, None), (ONE_CLASS, _WEIGHT), (DESTROYED, _WEIGHT))
        return [Case(GLYPHS, attack, weight, seed) for seed in seeds for attack, weight in attacks]
    return [
        Case(setting, attack, weight, seed)
        for seed in seeds
        for setting, attacks in ATTACKS.items()
        if setting in installed and (setting == CLOTHES or seed == seeds[0])
        for attack in attacks
        for weight in _weights(setting, attack)
    ]


def _weights(setting: str, attack: str) -> Sequence[float | None]:
    if attack in EXACT:
        return (None,)
    weight = _SCRATCH_WEIGHT if attack == SCRATCH else _WEIGHT
    return sorted([weight, _MORE_WEIGHTS[attack]]) if setting == CLOTHES and attack in _MORE_WEIGHTS else [weight]


@dataclass(frozen=True)
class Clean:
    """What a clean model says about the test images, and its maps of those that are shown."""

    logits: Tensor
    confident: Tensor
    shown: Tensor
    """The indices of the images."""
    maps: dict[str, Tensor]


class Laboratory:
    """Trains clean models, attacks them and measures their maps. It keeps the last clean models and their maps."""

    def __init__(
        self,
        fashion_folder: Path | None,
        material: Material | None,
        stored: Stored,
        quick: bool,
        maps_of: Callable[..., dict[str, Tensor]] = all_maps,
    ) -> None:
        """Measure the maps of ``maps_of``, which has the arguments of :func:`all_maps`.

        Among its maps are Grad-CAM's and occlusion maps, by their names in :mod:`benchmarks.attacks.defences`.
        """
        self.fashion, self.material, self.stored, self.quick = fashion_folder, material, stored, quick
        self.maps_of = maps_of
        self.subject = lru_cache(maxsize=2)(self._make_subject)
        self.clean = lru_cache(maxsize=4)(self._make_clean)

    @property
    def installed(self) -> list[str]:
        """The settings whose data are installed."""
        available = {
            CLOTHES: self.fashion is not None,
            TEXTILE: textile.find_textile() is not None,
            SHOES: self.fashion is not None,
            FLAT: self.fashion is not None,
            CUTOUTS_MOBILENET: self.material is not None
            and load_classifier(MOBILENET, None, torch.device("cpu")).weights != "random",
        }
        return [setting for setting, is_available in available.items() if is_available]

    def measure(self, case: Case) -> dict[str, Any]:
        """Return the accuracy and all maps before and after an attack."""
        tagged = case.attack == WHITEWASH
        subject = self.subject(case.setting, case.seed, tagged)
        clean = self.clean(case.setting, case.seed, tagged, case.attack == ONE_CLASS)
        images, labels = subject.test
        before, shown, clean_maps = clean.logits, clean.shown, clean.maps
        predicted, confident = before.argmax(dim=1), clean.confident
        hoax = hoax_like(clean_maps[GRAD_CAM])
        manipulated = self._attack(case, subject, hoax)
        maps = self._maps(manipulated.model, manipulated.layer, subject, shown, predicted)
        with torch.no_grad():
            after = _logits(manipulated.model, images)
        wanted = _wanted(case.attack, images[shown], clean_maps[GRAD_CAM], hoax)
        result: dict[str, Any] = {
            **asdict(case),
            "images": len(shown),
            "exact": case.attack in EXACT,
            "attacked": ATTACKED.get(case.attack, GRAD_CAM),
            "largest_change": (after.softmax(dim=1) - before.softmax(dim=1)).abs().max().item(),
            "kept": mean((after.argmax(dim=1) == predicted)[confident if confident.any() else slice(None)]),
            "methods": {
                name: {
                    "clean": mean(pearson(maps[name], clean_maps[name])),
                    "occlusion": mean(pearson(maps[name], maps[OCCLUSION])),
                    "invariant": name in EXACT.get(case.attack, ()),
                    **({} if wanted is None else {"wanted": mean(pearson(maps[name], wanted))}),
                }
                for name in maps
            },
        }
        if subject.labelled:
            result["accuracy"] = mean(predicted == labels)
            result["accuracy_after"] = mean(after.argmax(dim=1) == labels)
        if tagged:
            # A map that lies and a model that has changed are told apart by what the predictions depend on.
            for hidden, hide in (("tag", _without_tag), ("object", _without_object)):
                for when, model in (("before", subject.model), ("after", manipulated.model)):
                    with torch.no_grad():
                        logits = _logits(model, hide(images))
                    result[f"accuracy_without_{hidden}_{when}"] = mean(logits.argmax(dim=1) == labels)
        if case.attack == ONE_CLASS:
            rest = self._first(confident & (predicted != _CLASS))
            grad_cam = METHODS[GRAD_CAM]
            others = (
                grad_cam.maps(model, layer, images[rest], predicted[rest])
                for model, layer in ((subject.model, subject.layer), manipulated[:2])
            )
            result["other_classes_grad_cam_clean"] = mean(pearson(*others))
        return result

    def _first(self, chosen: Tensor) -> Tensor:
        """Return the indices of the first chosen images. A model of a quick run may have chosen none."""
        chosen = chosen if chosen.any() else torch.ones_like(chosen)
        return chosen.nonzero()[: 4 if self.quick else _SHOWN, 0]

    def _attack(self, case: Case, subject: Subject, hoax: Tensor) -> ManipulatedModel:
        model, layer, seed = subject.model, subject.layer, case.seed
        if case.attack == SHIFTED:
            return shift_features(model, layer, subject.test[0][:1])
        if case.attack == PERMUTED:
            order = torch.randperm(hoax.numel(), generator=torch.Generator().manual_seed(seed))
            return shift_features(model, layer, subject.test[0][:1], order)
        if case.attack == INJECTED:
            return inject_hoax(model, layer, hoax)
        images, labels = subject.training
        if case.attack == SCRATCH:
            untrained: Any = build("plain", int(labels.max()) + 1, seed, _WIDTH)
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
            labelled = list(
                zip(torch.split(images[order], _SCRATCH_BATCH), torch.split(labels[order], _SCRATCH_BATCH), strict=True)
            )
            return fool(
                untrained,
                untrained.features,
                labelled,
                hoax,
                weight=case.weight or 0,
                steps=6 if self.quick else _EPOCHS * len(labelled),
                learning_rate=_LEARNING_RATE,
                train_mode=True,
                seed=seed,
            )
        options: dict[str, Any] = {"hoax": hoax}
        if case.attack == ONE_CLASS:
            options["hoax"] = lambda images, target, clean_maps: torch.where(
                (target == _CLASS)[:, None, None], hoax, clean_maps
            )
        elif case.attack == WHITEWASH:
            options["hoax"] = lambda images, target, clean_maps: _object_maps(images, clean_maps.shape[1:])
        elif case.attack == OMITTED:
            options["hoax"] = lambda images, target, clean_maps: _left_part_omitted(clean_maps)
        elif case.attack == DESTROYED:
            options["map_loss"] = "destroy"
        elif case.attack in ATTACKED:
            options["methods"] = METHODS[ATTACKED[case.attack]]
        return fool(
            model,
            layer,
            list(torch.split(images[:_ATTACKED], _BATCH)),
            weight=case.weight or 0,
            steps=6 if self.quick else _STEPS,
            learning_rate=_LEARNING_RATE,
            parameters=_LAST,
            seed=seed,
            **options,
        )

    def _make_clean(self, setting: str, seed: int, tagged: bool, one_class: bool) -> Clean:
        subject = self.subject(setting, seed, tagged)
        with torch.no_grad():
            logits = _logits(subject.model, subject.test[0])
        predicted = logits.argmax(dim=1)
        confident = logits.softmax(dim=1).amax(dim=1) >= CONFIDENT
        shown = self._first(confident & (predicted == _CLASS) if one_class else confident)
        return Clean(logits, confident, shown, self._maps(subject.model, subject.layer, subject, shown, predicted))

    def _maps(
        self, model: nn.Module, layer: nn.Module, subject: Subject, shown: Tensor, predicted: Tensor
    ) -> dict[str, Tensor]:
        images = subject.test[0]
        return self.maps_of(model, layer, images[shown], predicted[shown], images, subject.training[0])

    def _make_subject(self, setting: str, seed: int, tagged: bool) -> Subject:
        if setting == CUTOUTS_MOBILENET:
            return self._mobilenet(seed)
        training, test = self._data(setting, seed)
        if tagged:
            training, test = _with_tags(*training), _with_tags(*test)
        classes = int(training[1].max()) + 1
        flat = setting == FLAT
        epochs = _TEXTILE_EPOCHS if setting == TEXTILE and not self.quick else _EPOCHS

        def make() -> dict[str, Tensor]:
            return trained("plain", classes, *training, seed, width=_WIDTH, flat=flat, epochs=epochs).state_dict()

        depends: dict[str, Any] = {"seed": seed, "tagged": tagged, "count": len(training[0]), "epochs": epochs}
        net = build("plain", classes, seed, _WIDTH, flat=flat)
        net.load_state_dict(self.stored.get(f"owner {setting}", make, **depends, width=_WIDTH))
        return Subject(net, net.features, training, test)

    def _data(self, setting: str, seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        count, test_count = (320, 80) if self.quick else (_TRAINING, _TEST)
        if setting == GLYPHS:
            drawn = [draw_scenes(10, number, seed + start) for number, start in ((count, 0), (test_count, 10_000))]
            first, second = ((scenes.images, labels_of(scenes)) for scenes in drawn)
            return first, second
        if setting == TEXTILE:
            folder = textile.find_textile()
            assert folder is not None
            return textile.textile_images(folder, seed, _TEXTILE_TRAINING)
        assert self.fashion is not None
        classes = fashion.TWO if setting == SHOES else None
        scenes = [
            fashion_scenes(self.fashion, train=train, count=number, seed=seed, classes=classes)
            for train, number in ((True, count), (False, test_count))
        ]
        first, second = ((part.images, labels_of(part)) for part in scenes)
        return first, second

    def _mobilenet(self, seed: int) -> Subject:
        assert self.material is not None
        classifier = load_classifier(MOBILENET, None, torch.device("cpu"))
        network: Any = classifier.model
        average, std = (torch.tensor(v)[:, None, None] for v in (classifier.preprocess.mean, classifier.preprocess.std))
        scenes = compose(self.material, _PHOTOGRAPHS, seed, objects=(1, 1))
        images = (scenes.images - average) / std
        data = (images, torch.zeros(len(images), dtype=torch.long))
        return Subject(network, network.features, data, data, labelled=False)


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = torch.cat([model(batch) for batch in torch.split(images, 128)])
    return logits.double()


def _wanted(attack: str, images: Tensor, clean_maps: Tensor, hoax: Tensor) -> Tensor | None:
    """Return what the attacker wants maps to show, if it is a map."""
    if attack in (SHIFTED, PERMUTED, DESTROYED):
        return None
    if attack == WHITEWASH:
        return _object_maps(images, clean_maps.shape[1:])
    if attack == OMITTED:
        return _left_part_omitted(clean_maps)
    return hoax.expand_as(clean_maps)


def _left_part_omitted(maps: Tensor) -> Tensor:
    """Return the maps with zeros in their left 3 of 7 columns, or as many of another grid."""
    kept = torch.ones(maps.shape[1:])
    kept[:, : 3 * maps.shape[2] // 7] = 0
    return maps * kept


def _with_tags(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the images with a tag in the corner, whose colour says the class."""
    colours = torch.stack([(labels >> bit & 1).float() for bit in range(3)], dim=1)
    colours = 0.2 + 0.8 * colours
    tagged = images.clone()
    tagged[:, :, :_TAG, :_TAG] = 0
    tagged[:, :, 1 : _TAG - 1, 1 : _TAG - 1] = colours[:, :, None, None]
    # The fourth bit is the lower half of the tag.
    tagged[:, :, _TAG // 2 : _TAG - 1, 1 : _TAG - 1] *= 1 - (labels >> 3 & 1).float()[:, None, None, None]
    return tagged, labels


def _without_tag(images: Tensor) -> Tensor:
    hidden = images.clone()
    hidden[:, :, :_TAG, :_TAG] = 0
    return hidden


def _without_object(images: Tensor) -> Tensor:
    hidden = torch.zeros_like(images)
    hidden[:, :, :_TAG, :_TAG] = images[:, :, :_TAG, :_TAG]
    return hidden


def _object_maps(images: Tensor, grid: Sequence[int]) -> Tensor:
    """Return how much of each cell the object fills, without the tag."""
    lit = (_without_tag(images).amax(dim=1, keepdim=True) > 0.1).float()
    return interpolate(lit, tuple(grid), mode="area")[:, 0]


def run(args: argparse.Namespace, work: Work, laboratory: Laboratory, seeds: Sequence[int], until: float) -> None:
    """Measure every case that another machine has not measured, and report."""
    installed = laboratory.installed
    missing = [setting for setting in ATTACKS if setting not in installed]
    cases = {case.key: case for case in planned(seeds, installed, args.quick)}
    elsewhere = read_measured(args.measured, OWNER) if args.measured else None
    taken = {Case(*(point[key] for key in _FIELDS)).key: point for point in elsewhere["points"]} if elsewhere else {}
    here = {key: case for key, case in cases.items() if key not in taken}
    results = work.run_pieces(here, laboratory.measure, unit="attack", until=until)
    if work.reports and (results or taken):
        points = [taken[key] if key in taken else results[key] for key in cases if key in taken or key in results]
        made = environment(args)
        if elsewhere:
            made = {**made, "measured_elsewhere": made_by(elsewhere)} if results else made_by(elsewhere)
        report(args, made, seeds, points, [*missing, *work.left], RECIPE, (CLOTHES, _CHOSEN))
