"""Is training with a hoax map from the first step cheaper for an attacker than fine-tuning a finished model?

The paper trains with the target map from the first step. Networks like ResNet and DenseNet are trained here in three
ways: clean; with the map loss from the first step, for several weights; and clean and then fine-tuned with the map
loss, for several weights. All of them attack Grad-CAM of the true class, and all parameters are trained. An attacker
has a budget of accuracy, in percentage points, and takes the weight that shows most of the hoax map within it.

A network that is trained anew has other maps even without an attack. So the networks trained from scratch include one
with the weight zero, from other initial weights: the correlation of its maps with those of the clean network is what a
network trained from scratch could keep at best.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.attacks import defences
from benchmarks.attacks.defences import CALIBRATED, DIFF, GRAD_CAM, OCCLUSION, WINDOWS
from benchmarks.attacks.frontier import best_within_budget, interval, over_seeds
from benchmarks.attacks.measures import mean
from benchmarks.attacks.options import SCRATCH as SCRATCH_STUDY
from benchmarks.attacks.study import Study, measure_cases, report
from benchmarks.common.canvas import Canvas
from benchmarks.common.fashion import TWO, fashion_scenes, labels_of
from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.localization import upsample
from benchmarks.common.names import CLOTHES, GLYPHS, SHOES
from benchmarks.common.occlusion import occlusion_maps
from benchmarks.common.pieces import Work
from benchmarks.common.reporting import table
from benchmarks.common.small_nets import Classifier, build
from benchmarks.common.stored import Stored
from captum_diffcam.attacks import ManipulatedModel, fool, hoax_like
from captum_diffcam.metrics import pearson

SCRATCH, TUNED = ATTACKS = ("from scratch", "fine-tuned")
WEIGHTS = {SCRATCH: (0.0, 1.0, 0.3), TUNED: (0.0, 1.0, 0.3)}
"""Weights of the map loss. With zero there is no attack."""
BUDGETS = (1, 2, 5)
"""Percentage points of accuracy that an attacker may lose."""
SEEDS = 2
"""Networks of each kind, at most. There are two to save time."""
ARCHITECTURES, DATA = ("resnet", "densenet"), (CLOTHES, SHOES)
_CLASSES = {CLOTHES: 10, SHOES: 2, GLYPHS: 10}

METHODS = {name: method for name, method in defences.METHODS.items() if name not in (CALIBRATED, WINDOWS)}
_COARSE = (4, 4)
"""A grid of 4 x 4 cells has 9 windows of 2 x 2 cells."""
_OTHER_START = 1000
"""Added to the seed of networks trained from scratch, so that they start elsewhere than the clean one."""
_EVALUATED = 500
"""Images in one forward pass."""


@dataclass(frozen=True)
class Sizes:
    """How much is drawn, trained and shown."""

    training: int = 2560
    test: int = 2000
    shown: int = 32
    width: int = 8
    batch: int = 32
    epochs: int = 3
    tuning_steps: int = 100


QUICK = Sizes(64, 32, shown=4, width=4, batch=16, epochs=1, tuning_steps=3)
_LEARNING_RATE = {SCRATCH: 3e-3, TUNED: 1e-3}


@dataclass(frozen=True)
class Case:
    """One network that is attacked."""

    data: str
    architecture: str
    seed: int
    attack: str
    weight: float

    @property
    def key(self) -> str:
        """A unique name."""
        return f"{self.data}, {self.architecture}, seed {self.seed}, {self.attack}, weight {self.weight:g}"


def planned(seeds: Sequence[int], installed: Sequence[str], quick: bool) -> list[Case]:
    """Return every case. Clean networks vary fastest: with as many processes, each of them trains one."""
    if quick:
        return [Case(GLYPHS, ARCHITECTURES[1], seeds[0], attack, weight) for attack in ATTACKS for weight in (0.0, 1.0)]
    return [
        Case(name, architecture, seed, attack, weight)
        for attack, weights in WEIGHTS.items()
        for weight in weights
        for seed in seeds[:SEEDS]
        for name in installed
        for architecture in ARCHITECTURES
    ]


@dataclass(frozen=True)
class Subject:
    """A clean network, with its images, maps and the hoax map."""

    model: Classifier
    batches: list[tuple[Tensor, Tensor]]
    test: tuple[Tensor, Tensor]
    images: Tensor
    """Test images that it recognises, whose maps are compared."""
    target: Tensor
    maps: dict[str, Tensor]
    hoax: Tensor


class Laboratory:
    """Trains networks and measures their maps. It keeps the last clean networks."""

    def __init__(self, fashion: Path | None, stored: Stored, quick: bool, device: torch.device) -> None:
        self.fashion, self.stored, self.device = fashion, stored, device
        self.sizes = QUICK if quick else Sizes()
        self.subject = lru_cache(maxsize=4)(self._make_subject)

    @property
    def installed(self) -> list[str]:
        """The kinds of images that are installed."""
        return list(DATA) if self.fashion is not None else []

    def measure(self, case: Case) -> dict[str, Any]:
        """Return the accuracy and the correlations of all maps after an attack."""
        subject = self.subject(case.data, case.architecture, case.seed)
        model, layer, _ = self._attack(case, subject)
        images, labels = subject.test
        before, after = _predict(subject.model, images), _predict(model, images)
        maps = _maps(model, layer, subject.images, subject.target)
        return {
            **{name: getattr(case, name) for name in ("data", "architecture", "seed", "attack", "weight")},
            "images": len(subject.images),
            "accuracy": mean(before == labels),
            "accuracy_after": mean(after == labels),
            "kept": mean(before == after),
            "methods": {
                name: {
                    "hoax": mean(pearson(maps[name], subject.hoax[None])),
                    "clean": mean(pearson(maps[name], subject.maps[name])),
                    "occlusion": mean(pearson(maps[name], maps[OCCLUSION])),
                }
                for name in maps
            },
        }

    def _attack(self, case: Case, subject: Subject) -> ManipulatedModel:
        if case.attack == SCRATCH:
            untrained = build(case.architecture, _CLASSES[case.data], case.seed + _OTHER_START, self.sizes.width).to(
                self.device
            )
            return self._from_scratch(untrained, subject.batches, subject.hoax, case.weight, case.seed + _OTHER_START)
        if case.weight == 0:
            return ManipulatedModel(subject.model, subject.model.features)
        return fool(
            subject.model,
            subject.model.features,
            [images for images, _ in subject.batches],
            subject.hoax,
            weight=case.weight,
            steps=self.sizes.tuning_steps,
            learning_rate=_LEARNING_RATE[TUNED],
            seed=case.seed,
        )

    def _from_scratch(
        self, untrained: Classifier, batches: list[tuple[Tensor, Tensor]], hoax: Tensor, weight: float, seed: int
    ) -> ManipulatedModel:
        return fool(
            untrained,
            untrained.features,
            batches,
            hoax,
            weight=weight,
            steps=self.sizes.epochs * len(batches),
            learning_rate=_LEARNING_RATE[SCRATCH],
            train_mode=True,
            seed=seed,
        )

    def _make_subject(self, data: str, architecture: str, seed: int) -> Subject:
        sizes = self.sizes
        images, labels = self._images(data, seed, train=True)
        test = self._images(data, seed, train=False)
        batches = list(zip(torch.split(images, sizes.batch), torch.split(labels, sizes.batch), strict=True))
        model = build(architecture, _CLASSES[data], seed, sizes.width).to(self.device)

        def make() -> dict[str, Tensor]:
            # The same training as under attack, with no weight for the map, so that accuracies can be compared.
            blank = torch.ones(7, 7)
            clean = self._from_scratch(model, batches, blank, 0.0, seed).model.state_dict()
            return {key: value.cpu() for key, value in clean.items()}

        depends: dict[str, Any] = {"data": data, "seed": seed, "sizes": vars(sizes), "device": self.device.type}
        model.load_state_dict(self.stored.get(f"scratch, clean {architecture}", make, **depends))
        shown = (_predict(model, test[0]) == test[1]).nonzero()[: sizes.shown, 0]
        if not len(shown):
            # The network of a quick run may recognise nothing.
            shown = torch.arange(sizes.shown, device=self.device)
        target = test[1][shown]
        maps = _maps(model, model.features, test[0][shown], target)
        return Subject(model, batches, test, test[0][shown], target, maps, hoax_like(maps[GRAD_CAM].cpu()))

    def _images(self, data: str, seed: int, train: bool) -> tuple[Tensor, Tensor]:
        count = self.sizes.training if train else self.sizes.test
        if data == GLYPHS:
            # A quick run needs no data that have to be installed.
            scenes = draw_scenes(_CLASSES[data], count, seed + (0 if train else 10_000))
        else:
            assert self.fashion is not None
            classes = TWO if data == SHOES else None
            scenes = fashion_scenes(self.fashion, train=train, count=count, seed=seed, classes=classes)
        return scenes.images.to(self.device), labels_of(scenes).to(self.device)


def _predict(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(batch).argmax(dim=1) for batch in torch.split(images, _EVALUATED)])


def _maps(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return the maps of every method, by name, on the CPU. Shape: (N, 7, 7)."""
    maps = {name: method.maps(model, layer, images, target).cpu() for name, method in METHODS.items()}
    maps[OCCLUSION] = upsample(occlusion_maps(model, images, target, _COARSE).cpu(), *maps[DIFF].shape[1:])
    return maps


def rows_of(points: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each kind of network, attack and budget: means over seeds, with intervals.

    ``cost`` is what of the budget was used, in percentage points; ``seeds`` how many networks had an attack within it.
    The budget 0 stands for networks that nobody attacked.
    """
    curves: dict[tuple[str, str, str], dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        kept = 1 - (point["accuracy"] - point["accuracy_after"])
        place = {**point, "predictions": {"kept": kept}, "changed_predictions": 1 - kept}
        curves[point["data"], point["architecture"], point["attack"]][point["seed"]].append(place)
    rows = []
    for (data, architecture, attack), of_seeds in curves.items():
        places = {0: [place for curve in of_seeds.values() for place in curve if place["weight"] == 0]}
        for budget in BUDGETS:
            best = [best_within_budget(curve, budget / 100, GRAD_CAM) for curve in of_seeds.values()]
            places[budget] = [place for place in best if place is not None]
        rows += [
            {
                **{"data": data, "architecture": architecture, "attack": attack, "budget": budget, "seeds": len(found)},
                "cost": interval([100 * place["changed_predictions"] for place in found]),
                "weight": interval([place["weight"] for place in found]),
                "methods": over_seeds([place["methods"] for place in found]),
            }
            for budget, found in places.items()
            if found
        ]
    return rows


def print_table(record: Mapping[str, Any]) -> None:
    """Print the best attacks within each budget."""
    cells: list[list[str | float]] = [
        [
            *(row[key] for key in ("data", "architecture", "attack", "budget", "seeds")),
            row["cost"]["mean"],
            *(row["methods"][name][key]["mean"] for name, key in _SHOWN),
        ]
        for row in record["rows"]
    ]
    header = ["data", "network", "attack", "budget", "seeds", "cost", *(f"{name}, {key}" for name, key in _SHOWN)]
    print(
        "\nBest attack on Grad-CAM within a budget of accuracy; correlations with the hoax map and with the clean map"
    )
    print(table(header, cells, limits=(25, 9, 12, *[0] * (len(header) - 3))))


_SHOWN = ((GRAD_CAM, "hoax"), (DIFF, "hoax"), (GRAD_CAM, "clean"), (DIFF, "clean"), (OCCLUSION, "clean"))


def verdict(record: Mapping[str, Any], budget: int = 2) -> list[str]:
    """Return what both attacks reach within a budget, in sentences."""
    sentences, rows = [], record["rows"]
    for attack in (SCRATCH, TUNED):
        own = [row for row in rows if row["attack"] == attack and row["budget"] == budget]
        numbers = [
            sum(row["methods"][name][key]["mean"] for row in own) / len(own) if own else float("nan")
            for name, key in ((GRAD_CAM, "hoax"), (DIFF, "hoax"), (DIFF, "clean"))
        ]
        sentences.append(
            f"{attack.capitalize()}, within {budget} points of accuracy: Grad-CAM correlates {numbers[0]:.2f} with the "
            f"hoax map, DiffGradCAM {numbers[1]:.2f}; DiffGradCAM keeps {numbers[2]:.2f} of its clean map "
            f"(means over {len(own)} kinds of networks)."
        )
    return sentences


_COLOURS = {SCRATCH: "#b2182b", TUNED: "#2166ac"}
_MARKERS = {GRAD_CAM: "o", DIFF: "s"}
_TITLES = {"resnet": "ResNet", "densenet": "DenseNet"}


def draw(path: Path, record: Mapping[str, Any]) -> None:
    """Draw a panel for each kind of network: the correlation with the hoax map against the loss of accuracy."""
    points = record["points"]
    kinds = list(dict.fromkeys((point["data"], point["architecture"]) for point in points))
    wide, high, left, top = 3.2, 2.2, 0.75, 1.6
    canvas = Canvas(2 * (wide + left) + 0.2, top + (len(kinds) + 1) // 2 * (high + 0.8) - 0.2)
    canvas.heading(
        "Training with the hoax from the first step, or fine-tuning",
        "Correlation with the hoax map against the accuracy lost. Each mark is one network.",
    )
    for i, attack in enumerate(_COLOURS):
        for j, name in enumerate(_MARKERS):
            sign = "●" if _MARKERS[name] == "o" else "■"
            style: dict[str, Any] = {"color": _COLOURS[attack], "fontsize": 10, "alpha": 1 if j == 0 else 0.6}
            canvas.text(0.12 + 3.4 * i, 0.85 + 0.22 * j, f"{sign} {name}, {attack}", **style)
    for number, (data, architecture) in enumerate(kinds):
        place = (left + number % 2 * (wide + left), top + number // 2 * (high + 0.8))
        axes = canvas.axes(*place, wide, high)
        for spine in ("bottom", "left"):
            axes.spines[spine].set_visible(True)
        for point in points:
            if (point["data"], point["architecture"]) == (data, architecture):
                lost = 100 * (point["accuracy"] - point["accuracy_after"])
                for name, marker in _MARKERS.items():
                    style = {"color": _COLOURS[point["attack"]], "alpha": 1 if name == GRAD_CAM else 0.5}
                    axes.plot(min(lost, 12), point["methods"][name]["hoax"], marker, markersize=5, **style)
        axes.set(xlim=(-3.3, 12.3), xticks=[0, 5, 10], ylim=(-1, 1), yticks=[-1, 0, 1])
        axes.tick_params(labelsize=9, length=0)
        axes.set_title(f"{data}, like {_TITLES[architecture]}", fontsize=10)
        axes.set_xlabel("accuracy lost, percentage points", fontsize=9)
    canvas.save(path)


def study(quick: bool) -> Study:
    """Return how the points are reported."""
    point_fields = ("data", "architecture", "seed", "attack", "weight", "accuracy", "accuracy_after", "kept")
    return Study(
        SCRATCH_STUDY,
        {"sizes": vars(QUICK if quick else Sizes()), "learning_rates": _LEARNING_RATE, "weights": WEIGHTS},
        lambda points: {"rows": rows_of(points)},
        columns={name: name for name in point_fields},
        numbers={"hoax": "with hoax map", "clean": "with clean map", "occlusion": "with own occlusion map"},
        draw=draw,
        print_table=print_table,
        verdict=verdict,
    )


def run(
    args: argparse.Namespace, work: Work, fashion: Path | None, stored: Stored, seeds: Sequence[int], until: float
) -> None:
    """Measure every case and report."""
    laboratory = Laboratory(fashion, stored, args.quick, args.device)
    missing = [name for name in DATA if name not in laboratory.installed]
    cases = {case.key: case for case in planned(seeds, laboratory.installed, args.quick)}
    made, points = measure_cases(args, work, SCRATCH_STUDY, cases, laboratory.measure, until)
    if points:
        report(
            args, study(args.quick), made, sorted({point["seed"] for point in points}), points, [*missing, *work.left]
        )
