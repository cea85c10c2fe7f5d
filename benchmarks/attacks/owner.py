"""Attacks that a model's owner has a motive for: one class, whitewash, moved features, destroy, omit, from scratch.

Every setting has labels, so that the cost is a loss of accuracy on images that the attacker never saw. All attacks have
one weight of the map loss, one number of steps and one learning rate, which were chosen before the run and not on it.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.attacks.frontier import interval
from benchmarks.attacks.measures import mean
from benchmarks.common import fashion, textile
from benchmarks.common.canvas import Canvas
from benchmarks.common.cutouts import Material, compose
from benchmarks.common.fashion import fashion_scenes, labels_of
from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.localization import upsample
from benchmarks.common.models import load_classifier
from benchmarks.common.names import CLOTHES, GLYPHS, MOBILENET, SHOES
from benchmarks.common.occlusion import occlusion_maps
from benchmarks.common.pieces import Work
from benchmarks.common.reporting import conclude, environment, rounded, table, write_csv, write_json
from benchmarks.common.small_nets import build, trained
from captum_diffcam import (
    CamMethod,
    EquivariantPart,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
    LayerDiffHiResCam,
)
from captum_diffcam.attacks import ManipulatedModel, fool, hoax_like, inject_hoax, shift_features
from captum_diffcam.metrics import pearson

TEXTILE, CUTOUTS_MOBILENET = "textile defects, 3 classes", "cut-outs, MobileNetV2, 1000 classes"
SHIFTED, PERMUTED, INJECTED = "shifted features", "permuted features", "common offset"
SHAM, ONE_CLASS, WHITEWASH = "hoax on every image", "hoax for one class", "whitewash"
DESTROYED, OMITTED = "destroyed", "omission"
AGAINST_PLUS_PLUS, SCRATCH = "hoax in DiffGradCAM++", "hoax from scratch"
EXACT = (SHIFTED, PERMUTED, INJECTED)
"""Attacks that need no training and change no probability."""
ATTACKS = {
    CLOTHES: (
        *(SHIFTED, WHITEWASH, ONE_CLASS, DESTROYED, OMITTED, SCRATCH, AGAINST_PLUS_PLUS, SHAM),
        *(PERMUTED, INJECTED),
    ),
    CUTOUTS_MOBILENET: (SHIFTED,),
    SHOES: (SHIFTED, ONE_CLASS, DESTROYED, INJECTED),
    TEXTILE: (SHIFTED, ONE_CLASS, DESTROYED),
}
_MORE_SEEDS = (SHIFTED, ONE_CLASS, DESTROYED, OMITTED, AGAINST_PLUS_PLUS, SHAM)
"""Attacks on Fashion-MNIST with 10 classes that all seeds have. To save time, everything else has one seed."""
_CHOSEN = (SHIFTED, ONE_CLASS, WHITEWASH, DESTROYED, OMITTED, SCRATCH, AGAINST_PLUS_PLUS)
"""The rows of the summary, on Fashion-MNIST with 10 classes."""

GRAD_CAM, DIFF = "Grad-CAM", "DiffGradCAM"
MEAN, PLUS_PLUS, HIRES = "DiffGradCAM, mean", "DiffGradCAM++", "contrastive HiResCAM"
EQUIVARIANT, OCCLUSION = "equivariant part", "occlusion, 9 windows"
GRAD_CAM_NORM, DIFF_NORM = "Grad-CAM, re-estimated statistics", "DiffGradCAM, re-estimated statistics"
METHODS = {
    GRAD_CAM: CamMethod(LayerGradCam),
    DIFF: CamMethod(LayerDiffGradCam),
    MEAN: CamMethod(LayerDiffGradCam, reduction="mean"),
    PLUS_PLUS: CamMethod(LayerDiffGradCamPlusPlus),
    HIRES: CamMethod(LayerDiffHiResCam),
    EQUIVARIANT: CamMethod(lambda model, layer: EquivariantPart(LayerDiffGradCam(model, layer), 1), shifts_per_eval=9),
}
INVARIANT = {
    SHIFTED: (OCCLUSION,),
    PERMUTED: (OCCLUSION,),
    INJECTED: (DIFF, MEAN, PLUS_PLUS, HIRES, EQUIVARIANT, OCCLUSION),
}
"""Maps that an exact attack cannot change, by proof. The correlation of 1 that is measured is no luck."""
_CLASS = 0
"""The class whose maps show the hoax, where only one does."""
_WEIGHT, _STEPS, _LEARNING_RATE, _BATCH = 3.0, 120, 3e-3, 16
"""The weight is the middle one of the frontier, whose recipe has this learning rate, too."""
_SCRATCH_BATCH, _EPOCHS = 64, 4
_WIDTH, _TRAINING, _TEXTILE_TRAINING, _ATTACKED, _TEST, _SHOWN = 12, 2400, 1400, 1600, 600, 24
_LAST = ("features.4", "head")
"""What the attacker trains: the last convolution and the head."""
_COARSE = (4, 4)
_TAG = 8
"""The side of the tag in the upper left corner, in pixels: one cell of the map."""


@dataclass(frozen=True)
class Case:
    """One attack on one clean model."""

    setting: str
    attack: str
    seed: int

    @property
    def key(self) -> str:
        """A unique name."""
        return f"{self.setting}, {self.attack}, seed {self.seed}"


@dataclass(frozen=True)
class Subject:
    """A clean model, with its labelled images."""

    model: nn.Module
    layer: nn.Module
    training: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    labelled: bool = True


def planned(seeds: Sequence[int], installed: Sequence[str], quick: bool) -> list[Case]:
    """Return every case, the settings in turn for each seed."""
    if quick:
        return [Case(GLYPHS, attack, seed) for seed in seeds for attack in (SHIFTED, ONE_CLASS, DESTROYED)]
    return [
        Case(setting, attack, seed)
        for seed in seeds
        for setting, attacks in ATTACKS.items()
        if setting in installed
        for attack in attacks
        if seed == seeds[0] or (setting == CLOTHES and attack in _MORE_SEEDS)
    ]


class Laboratory:
    """Trains clean models, attacks them and measures their maps. It keeps the last clean models."""

    def __init__(self, fashion_folder: Path | None, material: Material | None, quick: bool) -> None:
        self.fashion, self.material, self.quick = fashion_folder, material, quick
        self.subject = lru_cache(maxsize=2)(self._make_subject)

    @property
    def installed(self) -> list[str]:
        """The settings whose data are installed."""
        available = {
            CLOTHES: self.fashion is not None,
            TEXTILE: textile.find_textile() is not None,
            SHOES: self.fashion is not None,
            CUTOUTS_MOBILENET: self.material is not None
            and load_classifier(MOBILENET, None, torch.device("cpu")).weights != "random",
        }
        return [setting for setting, is_available in available.items() if is_available]

    def measure(self, case: Case) -> dict[str, Any]:
        """Return the accuracy and all maps before and after an attack."""
        tagged = case.attack == WHITEWASH
        subject = self.subject(case.setting, case.seed, tagged)
        images, labels = subject.test
        with torch.no_grad():
            before = _logits(subject.model, images)
        predicted = before.argmax(dim=1)
        confident = before.softmax(dim=1).amax(dim=1) >= 0.3
        of_class = predicted == _CLASS
        shown = self._first(confident & of_class if case.attack == ONE_CLASS else confident)
        target = predicted[shown]
        clean_maps = _maps(subject.model, subject.layer, images[shown], target, images)
        hoax = hoax_like(clean_maps[GRAD_CAM])
        manipulated = self._attack(case, subject, hoax)
        maps = _maps(manipulated.model, manipulated.layer, images[shown], target, images)
        with torch.no_grad():
            after = _logits(manipulated.model, images)
        wanted = _wanted(case.attack, images[shown], clean_maps[GRAD_CAM], hoax)
        result: dict[str, Any] = {
            "setting": case.setting,
            "attack": case.attack,
            "seed": case.seed,
            "images": len(shown),
            "exact": case.attack in EXACT,
            "largest_change": (after.softmax(dim=1) - before.softmax(dim=1)).abs().max().item(),
            "kept": mean((after.argmax(dim=1) == predicted)[confident if confident.any() else slice(None)]),
            "methods": {
                name: {
                    "clean": mean(pearson(maps[name], clean_maps[name])),
                    "occlusion": mean(pearson(maps[name], maps[OCCLUSION])),
                    "invariant": name in INVARIANT.get(case.attack, ()),
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
            rest = self._first(confident & ~of_class)
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
                weight=1.0,
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
        elif case.attack == AGAINST_PLUS_PLUS:
            options["methods"] = METHODS[PLUS_PLUS]
        return fool(
            model,
            layer,
            list(torch.split(images[:_ATTACKED], _BATCH)),
            weight=_WEIGHT,
            steps=6 if self.quick else _STEPS,
            learning_rate=_LEARNING_RATE,
            parameters=_LAST,
            seed=seed,
            **options,
        )

    def _make_subject(self, setting: str, seed: int, tagged: bool) -> Subject:
        if setting == CUTOUTS_MOBILENET:
            return self._mobilenet(seed)
        training, test = self._data(setting, seed)
        if tagged:
            training, test = _with_tags(*training), _with_tags(*test)
        classes = int(training[1].max()) + 1
        net = trained("plain", classes, *training, seed, width=_WIDTH)
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
        scenes = compose(self.material, 4 if self.quick else _SHOWN, seed, objects=(1, 1))
        images = (scenes.images - average) / std
        data = (images, torch.zeros(len(images), dtype=torch.long))
        return Subject(network, network.features, data, data, labelled=False)


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = torch.cat([model(batch) for batch in torch.split(images, 128)])
    return logits.double()


def _maps(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor, many: Tensor) -> dict[str, Tensor]:
    """Return the maps of every method, by name. Many images are there to re-estimate statistics with."""
    maps = {name: method.maps(model, layer, images, target) for name, method in METHODS.items()}
    grid = maps[DIFF].shape[1:]
    maps[OCCLUSION] = upsample(occlusion_maps(model, images, target, _COARSE), *grid)
    estimated, estimated_layer = copy.deepcopy((model, layer))
    _estimate_statistics(estimated, many)
    for name, method in ((GRAD_CAM_NORM, GRAD_CAM), (DIFF_NORM, DIFF)):
        maps[name] = METHODS[method].maps(estimated, estimated_layer, images, target)
    return maps


def _estimate_statistics(model: nn.Module, images: Tensor) -> None:
    """Replace the statistics of batch normalisation by those of the auditor's images, after arXiv:2403.16569."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for batch in torch.split(images[:512], 128):
            model(batch)
    model.eval()


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


def rows_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each setting and attack: means over seeds, and the method that keeps most of its clean map."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["setting"], result["attack"]].append(result)
    rows = []
    for (setting, attack), group in groups.items():
        methods = {
            name: {
                **{
                    key: interval([seed["methods"][name][key] for seed in group])
                    for key, value in numbers.items()
                    if not isinstance(value, bool)
                },
                "invariant": numbers["invariant"],
            }
            for name, numbers in group[0]["methods"].items()
        }
        best = max(methods, key=lambda name: methods[name]["clean"]["mean"])
        fields = [key for key, value in group[0].items() if isinstance(value, float)]
        row: dict[str, Any] = {
            "setting": setting,
            "attack": attack,
            "seeds": len(group),
            "exact": group[0]["exact"],
            **{key: interval([seed[key] for seed in group]) for key in fields},
            "methods": methods,
            "best": {"name": best, **methods[best]},
        }
        if "accuracy" in row:
            row["cost"] = interval([100 * (seed["accuracy"] - seed["accuracy_after"]) for seed in group])
        rows.append(row)
    return rows


def run(args: argparse.Namespace, work: Work, laboratory: Laboratory, seeds: Sequence[int], until: float) -> None:
    """Measure every case and report."""
    installed = laboratory.installed
    missing = [setting for setting in ATTACKS if setting not in installed]
    cases = planned(seeds, installed, args.quick)
    results = work.run_pieces({case.key: case for case in cases}, laboratory.measure, unit="attack", until=until)
    if work.reports and results:
        report(args, seeds, list(results.values()), [*missing, *work.left])


def report(args: argparse.Namespace, seeds: Sequence[int], results: list[dict[str, Any]], left: list[str]) -> None:
    """Write the record, a table of every number and the figure, and print the summary."""
    rows = rows_of(results)
    summary = [row for attack in _CHOSEN for row in rows if (row["setting"], row["attack"]) == (CLOTHES, attack)]
    record = rounded(
        {
            "benchmark": "attacks",
            "complete": not (args.quick or left),
            **environment(args),
            "seeds": list(seeds),
            "left_out": left,
            "recipe": {"weight": _WEIGHT, "steps": _STEPS, "learning_rate": _LEARNING_RATE, "trained": _LAST},
            "summary": summary,
            "rows": rows,
            "points": results,
        }
    )
    write_json(args.output / "owner.json", record)
    lines = []
    for point in record["points"]:
        for name, numbers in point["methods"].items():
            lines.append(
                [
                    *(point[key] for key in ("setting", "attack", "seed")),
                    *(point.get(key, "") for key in ("accuracy", "accuracy_after")),
                    *(point["kept"], name, numbers["clean"], numbers.get("wanted", ""), numbers["occlusion"]),
                    numbers["invariant"],
                ]
            )
    header = ["setting", "attack", "seed", "accuracy", "accuracy after", "predictions kept", "map", "with clean map"]
    write_csv(args.output / "owner.csv", [*header, "with what is wanted", "with own occlusion map", "invariant"], lines)
    draw(args.output / "owner.png", record["rows"])
    shown = (GRAD_CAM, DIFF, PLUS_PLUS, EQUIVARIANT, OCCLUSION)
    cells: list[list[str | float]] = [
        [row["setting"], row["attack"], row["kept"]["mean"], *(row["methods"][n]["clean"]["mean"] for n in shown)]
        for row in record["rows"]
    ]
    print("\nCorrelation with the clean model's map")
    print(table(["setting", "attack", "kept", *shown], cells, limits=(34, 24, 0, *[0] * len(shown))))
    conclude(args, verdict(record), ["owner.json", "owner.csv", "owner.png"], complete=bool(record["complete"]))


def verdict(record: Mapping[str, Any]) -> list[str]:
    """Return the summary in sentences."""
    return [
        f"{row['attack']}: Grad-CAM keeps {row['methods'][GRAD_CAM]['clean']['mean']:.2f} of its clean map, "
        f"DiffGradCAM {row['methods'][DIFF]['clean']['mean']:.2f}, {row['best']['name']} "
        f"{row['best']['clean']['mean']:.2f}."
        for row in record["summary"]
    ]


_COLOURS = {GRAD_CAM: "#b2182b", DIFF: "#2166ac", PLUS_PLUS: "#e08214", EQUIVARIANT: "#762a83", OCCLUSION: "#666666"}
_PANELS = (CLOTHES, SHOES, TEXTILE, CUTOUTS_MOBILENET)


def draw(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw a panel for each setting and a line for each attack, with a dot for each map."""
    settings = [setting for setting in _PANELS if any(row["setting"] == setting for row in rows)]
    wide, high, left, top = 3.6, 2.6, 1.9, 1.3
    columns = min(len(settings), 2)
    lines = math.ceil(len(settings) / 2)
    canvas = Canvas(max(columns, 2) * (wide + left) + 0.3, top + lines * (high + 0.9))
    canvas.heading(
        "What maps keep under attack",
        "Correlation of each map with the same method's map of the clean model; means over images and seeds.",
    )
    place = 0.3
    for name, colour in _COLOURS.items():
        canvas.text(place, 0.85, f"● {name}", color=colour, fontweight="bold", fontsize=10)
        place += 0.5 + 0.09 * len(name)
    for number, setting in enumerate(settings):
        own = [row for row in rows if row["setting"] == setting]
        axes = canvas.axes(left + number % 2 * (wide + left), top + number // 2 * (high + 0.9), wide, high)
        axes.spines["bottom"].set_visible(True)
        for height, row in enumerate(own):
            axes.axhline(height, color="0.9", linewidth=0.8)
            for name, colour in _COLOURS.items():
                axes.plot(row["methods"][name]["clean"]["mean"], height, "o", color=colour, markersize=7, alpha=0.85)
        axes.set(xlim=(-1.05, 1.05), xticks=[-1, -0.5, 0, 0.5, 1], ylim=(len(own) - 0.5, -0.5))
        axes.set_yticks(range(len(own)), [row["attack"] for row in own], fontsize=9)
        axes.tick_params(labelsize=9, length=0)
        axes.set_title(setting, fontsize=11)
    canvas.save(path)
