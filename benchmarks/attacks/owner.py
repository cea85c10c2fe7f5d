"""Attacks that a model's owner has a motive for: one class, whitewash, moved features, destroy, omit, from scratch.

The cost of an attack is a loss of accuracy on images that the attacker never saw. Cut-outs have no labels. There it is
the share of confident predictions that changed. Steps, learning rates and weights of the map loss were chosen before
the run and not on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.attacks import owner_report
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
from benchmarks.attacks.measures import mean
from benchmarks.attacks.options import OWNER
from benchmarks.attacks.study import Study, measure_cases, report
from benchmarks.attacks.subjects import (
    CUTOUTS_LITE1,
    CUTOUTS_MOBILENET,
    EPOCHS,
    FLAT,
    MISSING,
    ORIENTATION,
    SETTINGS,
    SIZES,
    TAG,
    TEXTILE,
    WIDTH,
    Subject,
    Subjects,
)
from benchmarks.common.clean_models import CONFIDENT
from benchmarks.common.cutouts import Material
from benchmarks.common.names import CLOTHES, GLYPHS, SHOES
from benchmarks.common.options import warn
from benchmarks.common.pieces import Work
from benchmarks.common.result_folders import refuse_to_publish
from benchmarks.common.small_nets import build
from benchmarks.common.stored import Stored
from captum_diffcam.attacks import ManipulatedModel, fool, hoax_like, inject_hoax, shift_features
from captum_diffcam.metrics import pearson

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
    TEXTILE: (SHIFTED, ONE_CLASS, DESTROYED, SHAM),
    ORIENTATION: (SHIFTED, ONE_CLASS, DESTROYED, SHAM),
    FLAT: (SHAM, AGAINST_HIRES),
    CUTOUTS_MOBILENET: (SHIFTED, SHAM),
    CUTOUTS_LITE1: (SHIFTED, SHAM),
}
_SEEDS = {FLAT: 1, CUTOUTS_MOBILENET: 2, CUTOUTS_LITE1: 1}
"""The number of seeds, where it is smaller than that of the run, to save time."""
ATTACKED = {AGAINST_PLUS_PLUS: PLUS_PLUS, AGAINST_HIRES: HIRES}
"""The attacked map of attacks on another one than Grad-CAM."""
_CHOSEN = (SHIFTED, ONE_CLASS, WHITEWASH, DESTROYED, OMITTED, SCRATCH, SHAM)
"""The attacks of the summary, on Fashion-MNIST with ten classes."""
_WEIGHT, _SCRATCH_WEIGHT = 3.0, 1.0
"""Of the map loss. 3 is the middle one of the frontier, whose recipe has this learning rate, too."""
_MORE_WEIGHTS = {ONE_CLASS: 10.0, OMITTED: 10.0, DESTROYED: 1.0}
"""A second weight on Fashion-MNIST with ten classes, for attacks that were weak in an earlier run, or cost much."""
_LARGE_WEIGHTS = (0.5, 2.0)
"""For classifiers with the weights of ImageNet: the larger ones of the frontier, which has their learning rate, too."""
_LEARNING_RATES = {ORIENTATION: 1e-3, CUTOUTS_MOBILENET: 3e-4, CUTOUTS_LITE1: 3e-4}
_CLASS = 0
"""The class whose maps show the hoax, where only one does."""
_STEPS, _LEARNING_RATE, _SCRATCH_BATCH = 120, 3e-3, 64
RECIPE = {
    "steps": _STEPS,
    "learning_rate": _LEARNING_RATE,
    "learning_rates": _LEARNING_RATES,
    "images": SIZES,
    "trained": "the last convolution or the last two blocks, and the head",
}


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


def planned(seeds: Sequence[int], installed: Sequence[str], quick: bool) -> list[Case]:
    """Return every case, the settings in turn for each seed."""
    if quick:
        attacks = ((SHIFTED, None), (ONE_CLASS, _WEIGHT), (DESTROYED, _WEIGHT))
        return [Case(GLYPHS, attack, weight, seed) for seed in seeds for attack, weight in attacks]
    return [
        Case(setting, attack, weight, seed)
        for i, seed in enumerate(seeds)
        for setting, attacks in ATTACKS.items()
        if setting in installed and i < _SEEDS.get(setting, len(seeds))
        for attack in attacks
        for weight in _weights(setting, attack)
    ]


def _weights(setting: str, attack: str) -> Sequence[float | None]:
    if attack in EXACT:
        return (None,)
    if setting in (CUTOUTS_MOBILENET, CUTOUTS_LITE1):
        return _LARGE_WEIGHTS
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
        self.quick, self.maps_of = quick, maps_of
        subjects = Subjects(fashion_folder, material, stored, quick)
        self.installed = subjects.installed
        self.subject = lru_cache(maxsize=2)(subjects.make)
        self.clean = lru_cache(maxsize=4)(self._make_clean)

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
        manipulated = manipulated._replace(model=subject.with_attacked(manipulated.model))
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
            rest = _first(confident & (predicted != _CLASS), subject.shown)
            grad_cam = METHODS[GRAD_CAM]
            others = (
                grad_cam.maps(model, layer, images[rest], predicted[rest])
                for model, layer in ((subject.model, subject.layer), manipulated[:2])
            )
            result["other_classes_grad_cam_clean"] = mean(pearson(*others))
        return result

    def _attack(self, case: Case, subject: Subject, hoax: Tensor) -> ManipulatedModel:
        """Return the attacked part of the model after the attack."""
        model, layer, seed = subject.attacked, subject.layer, case.seed
        some = subject.batches[0][:1]
        if case.attack == SHIFTED:
            return shift_features(model, layer, some)
        if case.attack == PERMUTED:
            order = torch.randperm(hoax.numel(), generator=torch.Generator().manual_seed(seed))
            return shift_features(model, layer, some, order)
        if case.attack == INJECTED:
            return inject_hoax(model, layer, hoax)
        if case.attack == SCRATCH:
            images, labels = subject.training
            untrained: Any = build("plain", int(labels.max()) + 1, seed, WIDTH)
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
                steps=6 if self.quick else EPOCHS * len(labelled),
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
            subject.batches,
            weight=case.weight or 0,
            steps=6 if self.quick else _STEPS,
            learning_rate=_LEARNING_RATES.get(case.setting, _LEARNING_RATE),
            parameters=subject.trained,
            seed=seed,
            **options,
        )

    def _make_clean(self, setting: str, seed: int, tagged: bool, one_class: bool) -> Clean:
        subject = self.subject(setting, seed, tagged)
        with torch.no_grad():
            logits = _logits(subject.model, subject.test[0])
        predicted = logits.argmax(dim=1)
        confident = logits.softmax(dim=1).amax(dim=1) >= CONFIDENT
        shown = _first(confident & (predicted == _CLASS) if one_class else confident, subject.shown)
        return Clean(logits, confident, shown, self._maps(subject.model, subject.layer, subject, shown, predicted))

    def _maps(
        self, model: nn.Module, layer: nn.Module, subject: Subject, shown: Tensor, predicted: Tensor
    ) -> dict[str, Tensor]:
        images = subject.test[0]
        return self.maps_of(model, layer, images[shown], predicted[shown], images, subject.training[0])


def _first(chosen: Tensor, count: int) -> Tensor:
    """Return the indices of the first chosen images. A model of a quick run may have chosen none."""
    chosen = chosen if chosen.any() else torch.ones_like(chosen)
    return chosen.nonzero()[:count, 0]


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


def _without_tag(images: Tensor) -> Tensor:
    hidden = images.clone()
    hidden[:, :, :TAG, :TAG] = 0
    return hidden


def _without_object(images: Tensor) -> Tensor:
    hidden = torch.zeros_like(images)
    hidden[:, :, :TAG, :TAG] = images[:, :, :TAG, :TAG]
    return hidden


def _object_maps(images: Tensor, grid: Sequence[int]) -> Tensor:
    """Return how much of each cell the object fills, without the tag."""
    lit = (_without_tag(images).amax(dim=1, keepdim=True) > 0.1).float()
    return interpolate(lit, tuple(grid), mode="area")[:, 0]


def _summarise(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    rows = owner_report.rows_of(points)
    others = [row for setting in SETTINGS[1:] for row in owner_report.summary_of(rows, setting, ATTACKS[setting])]
    return {
        "budget": owner_report.BUDGET,
        "summary": owner_report.summary_of(rows, CLOTHES, _CHOSEN),
        "other_settings": others,
        "rows": rows,
    }


STUDY = Study(
    OWNER,
    RECIPE,
    _summarise,
    columns={
        **{name: name for name in ("setting", "attack", "weight", "seed", "accuracy")},
        "accuracy_after": "accuracy after",
        "kept": "predictions kept",
    },
    numbers={
        "clean": "with clean map",
        "wanted": "with what is wanted",
        "occlusion": "with own occlusion map",
        "invariant": "invariant",
    },
    draw=owner_report.draw,
    print_table=owner_report.print_table,
    verdict=owner_report.verdict,
)


def run(args: argparse.Namespace, work: Work, laboratory: Laboratory, seeds: Sequence[int], until: float) -> None:
    """Measure every case and report."""
    installed = laboratory.installed
    missing = [setting for setting in SETTINGS if setting not in installed]
    refuse_to_publish(args, missing)
    if not args.quick and work.reports:
        for line in dict.fromkeys(MISSING[setting] for setting in missing):
            warn(line)
    cases = {case.key: case for case in planned(seeds, installed, args.quick)}
    made, points = measure_cases(args, work, OWNER, cases, laboratory.measure, until)
    if points:
        report(args, STUDY, made, seeds, points, [*missing, *work.left])
