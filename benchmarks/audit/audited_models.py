"""Make clean and manipulated models with their images, audit them, and compare with exhaustive occlusion."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.audit import plan, pretrained
from benchmarks.audit.against_windows import fool_maps_and_windows
from benchmarks.audit.exhaustive import agreement, exhaustive_occlusion
from benchmarks.audit.hand_made import (
    Moved,
    border,
    border_on_a_third,
    by_half_a_cell,
    object_of,
    painted,
    scrambled,
    without_upper_half,
)
from benchmarks.audit.plan import Point
from benchmarks.audit.simulated import simulated_audits
from benchmarks.audit.small_models import (
    FLATTENED,
    POOLED,
    SmallNet,
    held_out_images,
    train,
    training_images,
    vision_transformer,
    with_shortcut,
)
from benchmarks.common import textile
from benchmarks.common.cutouts import find_material
from benchmarks.common.fashion import find_fashion
from benchmarks.common.models import lite_weights, mobilenet_weights
from benchmarks.common.names import MOBILENET
from benchmarks.common.pages import find_orientation
from benchmarks.common.small_nets import fit
from captum_diffcam import CamMethod, last_spatial_layer
from captum_diffcam.attacks import fool, hoax_map, shift_features
from captum_diffcam.attribution import Layer
from captum_diffcam.audit import AuditReport, audit
from captum_diffcam.audit.auditing import DEFAULT_METHODS
from captum_diffcam.metrics import pearson

BATCH = 32
"""Images of an audit."""
_BATCHES, _MORE_BATCHES = 4, {plan.SHORTCUT: 7, **dict.fromkeys(FLATTENED, 1)}
"""Audits of a model, and of a kind of which more or fewer are wanted."""
_LARGEST_SIDE, _FEW = 100, 6
"""Of larger images, few are compared with exhaustive occlusion, which takes 192 forward passes and more of each."""
_REPEATS = 10
_STEPS, _LEARNING_RATE, _WEIGHT = 200, 3e-3, 3.0
"""Of the attacks that are trained."""
_WITH_WINDOWS: dict[str, Any] = {"weight": 0.5, "steps": 120, "learning_rate": _LEARNING_RATE}
"""Of the one that trains occlusion, too, which costs more accuracy and time."""
_TEXTILE_TRAINING, _TEXTILE_EPOCHS = 1400, 6
_TIMINGS = 3
"""Forward passes with which the time of an audit is compared; their median."""
CLEAN, ONE_CLASS_BATCH = "clean", "clean, batch of one class"


@dataclass(frozen=True)
class Case:
    """A model and images to audit, and what is known about it."""

    model: nn.Module
    layer: Layer
    images: Tensor
    what: str
    """Clean, or the name of an attack."""
    batch: int
    reference: nn.Module | None = None
    """A model with the same logits whose occlusion is known already."""
    hoaxed_class: int | None = None
    hoax: Tensor | None = None
    """The map that an attacker wants to be shown, (7, 7)."""
    facts: dict[str, float] = field(default_factory=dict)
    """More numbers for the record: the accuracy after an attack, and the share of images with a hoax."""


class AuditedModels:
    """Makes the cases of a point."""

    def __init__(
        self, quick: bool, *, cutouts: Path | None = None, backgrounds: Path | None = None, fashion: Path | None = None
    ) -> None:
        self.quick = quick
        self.material = find_material(cutouts, backgrounds)
        self.fashion = find_fashion(fashion)

    def has(self, kind: str) -> bool:
        """Return whether the data and weights of this kind are installed."""
        if kind == plan.SIMULATED:
            return True
        if kind == plan.DOCUMENTS:
            return find_orientation() is not None
        if kind == plan.TEXTILE:
            return textile.find_textile() is not None
        if kind in plan.LARGE:
            name = {**plan.PHOTOGRAPHS, **plan.CUTOUTS}[kind]
            weights = mobilenet_weights() if name == MOBILENET else lite_weights(name)
            return weights is not None and self.material is not None
        if kind == plan.TRANSFORMER and importlib.util.find_spec("timm") is None:
            return False
        return self.fashion is not None

    def audits(self, point: Point) -> list[dict[str, Any]]:
        """Return a row for each audit and method of a point."""
        if point.kind == plan.REPEATED:
            return self._repeated(point)
        if point.kind == plan.SIMULATED:
            return simulated_audits(point.seed, 4 if self.quick else 150)
        rows: list[dict[str, Any]] = []
        known: dict[Any, Tensor] = {}
        for case in self._cases(point):
            # Attacks by hand have the logits of their reference, and so its occlusion.
            key = (case.reference or case.model, case.batch, case.what == ONE_CLASS_BATCH)
            report, passes = _timed_audit(case, 1000 * point.seed + case.batch)
            if key not in known and point.kind not in plan.NOT_COMPARED:
                known[key] = _exhaustive(case, report)
            rows += _rows(point, case, report, passes, known.get(key))
        return rows

    def _cases(self, point: Point) -> Iterator[Case]:
        if point.kind in plan.LARGE:
            yield from self._pretrained(point)
            return
        if point.kind == plan.TEXTILE:
            yield self._textile(point.seed)
            return
        model, layer, images, labels = self._trained(point)
        batches = list(torch.split(images, BATCH))
        if point.kind in plan.TRAINED_ATTACKED:
            yield from self._attacked_by_training(point, model, images, labels)
            return
        for number, batch in enumerate(batches[: 1 if self.quick else _MORE_BATCHES.get(point.kind, _BATCHES)]):
            yield Case(model, layer, batch, CLEAN, number)
            if point.kind == plan.SHORTCUT:
                whitewashed = painted(model, object_of, torch.ones(10), batch)
                yield Case(whitewashed, whitewashed.features, batch, plan.WHITEWASH, number, model)
            elif point.kind in plan.ATTACKED:
                yield from _attacked_by_hand(model, batch, number)
        if point.kind in POOLED:
            one_class = images[labels == point.seed % 10][:BATCH]
            yield Case(model, layer, one_class, ONE_CLASS_BATCH, 0)

    def _trained(self, point: Point) -> tuple[Any, Layer, Tensor, Tensor]:
        """Return a clean model, its layer, and images that it was not trained on, with labels."""
        assert self.fashion
        images, labels = training_images(self.fashion, point.seed)
        held_out, its_labels = held_out_images(self.fashion, 800, point.seed)
        if point.kind == plan.SHORTCUT:
            images, held_out = with_shortcut(images, labels), with_shortcut(held_out, its_labels)
        if self.quick:
            images, labels = images[:1280], labels[:1280]
        if point.kind == plan.TRANSFORMER:
            transformer = vision_transformer(images, labels, point.seed)
            return transformer, last_spatial_layer(transformer, held_out[:1]), held_out, its_labels
        kind = plan.TRAINED_ATTACKED.get(point.kind, point.kind)
        model = train({**POOLED, **FLATTENED}.get(kind, POOLED["plain"]), images, labels, point.seed)
        return model, model.features, held_out, its_labels

    def _attacked_by_training(self, point: Point, model: SmallNet, images: Tensor, labels: Tensor) -> Iterator[Case]:
        assert self.fashion
        training = training_images(self.fashion, point.seed + 500)
        data = list(zip(*(torch.split(tensor, BATCH) for tensor in training), strict=True))
        hoax = hoax_map((7, 7), entropy=3.33)
        options: dict[str, Any] = {"weight": _WEIGHT, "steps": _STEPS, "learning_rate": _LEARNING_RATE}

        def fooled(methods: Sequence[CamMethod]) -> tuple[nn.Module, Layer]:
            attacked = fool(model, model.features, data, hoax, methods=methods, seed=point.seed, **options)
            return attacked.model.eval(), attacked.layer

        def fooled_with_windows() -> tuple[nn.Module, Layer]:
            attacked = fool_maps_and_windows(model, data, hoax, DEFAULT_METHODS, seed=point.seed, **_WITH_WINDOWS)
            return attacked, attacked.features

        attacks: dict[str, Callable[[], tuple[nn.Module, Layer]]] = {
            plan.SHAM: partial(fooled, DEFAULT_METHODS[:1]),
            plan.AT_ONCE: partial(fooled, DEFAULT_METHODS),
        }
        if plan.TRAINED_ATTACKED[point.kind] == "plain" and point.seed % 2 == 0:
            attacks[plan.OCCLUSION_TOO] = fooled_with_windows
        for name, attack in attacks.items():
            attacked, layer = attack()
            with torch.no_grad():
                accuracy = [(its(images).argmax(dim=1) == labels).float().mean().item() for its in (model, attacked)]
            facts = {"accuracy_before": accuracy[0], "accuracy": accuracy[1]}
            for number, batch in enumerate(torch.split(images, BATCH)[:_BATCHES]):
                yield Case(attacked, layer, batch, name, number, hoax=hoax, facts=facts)

    def _repeated(self, point: Point) -> list[dict[str, Any]]:
        """Return rows of ten audits each of a clean model, a hoax, and shifted features."""
        model, _, images, _ = self._trained(point)
        batch = images[:BATCH]
        hoax = painted(model, border, torch.ones(10), batch)
        moved = shift_features(model, model.features, batch, (1, 1))
        rows = []
        audited: list[tuple[str, nn.Module, Layer]] = [
            (CLEAN, model, model.features),
            (plan.HOAX, hoax, hoax.features),
            ("shifted by (1, 1)", moved.model, moved.layer),
        ]
        for what, its_model, layer in audited:
            for seed in range(_REPEATS):
                case = Case(its_model, layer, batch, what, 0)
                rows += _rows(point, case, *_timed_audit(case, seed), None)
        return rows

    def _pretrained(self, point: Point) -> Iterator[Case]:
        """Yield a clean model with large images."""
        if point.kind == plan.DOCUMENTS:
            file = find_orientation()
            assert file
            network, its_layer = pretrained.orientation_classifier(file)
            yield Case(network, its_layer, pretrained.pages(BATCH, point.seed), CLEAN, 0)
            return
        name = {**plan.PHOTOGRAPHS, **plan.CUTOUTS}[point.kind]
        model, layer, preprocess = pretrained.classifier(name)
        if point.kind in plan.PHOTOGRAPHS:
            yield Case(model, layer, pretrained.photographs(self.material, preprocess, BATCH, point.seed), CLEAN, 0)
            return
        assert self.material
        images = pretrained.scenes(self.material, preprocess, BATCH, point.seed)
        yield Case(model, layer, images, CLEAN, 0)
        if point.kind in plan.SHIFTED_TOO:
            for what, by in list(plan.SHIFTS.items())[: plan.SHIFTED_TOO[point.kind]]:
                # What is explained may be the input of a layer; the features before it are shifted.
                moved = shift_features(model, pretrained.FEATURES[name], images[:1], by)
                yield Case(moved.model, pretrained.same_layer(moved.model, layer), images, what, 0, model)

    def _textile(self, seed: int) -> Case:
        folder = textile.find_textile()
        assert folder is not None
        training, (images, _) = textile.textile_images(folder, seed, _TEXTILE_TRAINING)
        classifier = textile.textile_classifier(seed).train()
        model = fit(classifier, *training, seed, classes=len(textile.CLASSES), epochs=_TEXTILE_EPOCHS).eval()
        return Case(model, model.features, images[:BATCH], CLEAN, 0)


def _attacked_by_hand(model: SmallNet, batch: Tensor, number: int) -> Iterator[Case]:
    """Yield models that are manipulated by hand, whose logits are those of the clean model."""
    with torch.no_grad():
        predicted = model(batch).argmax(dim=1)
    counts = torch.bincount(predicted, minlength=10)
    commonest, rarest = int(counts.argmax()), int(counts.where(counts > 0, len(batch) + 1).argmin())
    hoaxes = {
        plan.HOAX: (border, range(10), None),
        plan.ONE_CLASS: (border, [commonest], commonest),
        plan.RARE: (border, [rarest], rarest),
        plan.ONE_IN_THREE: (border_on_a_third, range(10), None),
    }
    for what, (picture, classes, hoaxed_class) in hoaxes.items():
        shown = torch.zeros(10).index_fill(0, torch.tensor(list(classes)), 1)
        hoax = painted(model, picture, shown, batch)
        share = (picture(batch).flatten(1).any(dim=1) & shown[predicted].bool()).float().mean().item()
        yield Case(
            hoax,
            hoax.features,
            batch,
            what,
            number,
            model,
            hoaxed_class,
            border(batch)[0] if what == plan.HOAX else None,
            {"changed": share},
        )
    for name, by in plan.SHIFTS.items():
        attacked = shift_features(model, model.features, batch, by)
        yield Case(attacked.model, attacked.layer, batch, name, number, model)
    moves = {plan.HALF_CELL: by_half_a_cell, plan.DESTROYED: scrambled, plan.OMISSION: without_upper_half}
    for name, move in moves.items():
        moved = SmallNet(Moved(model.features, move), model.head).eval()
        yield Case(moved, moved.features, batch, name, number, model)


def _timed_audit(case: Case, seed: int) -> tuple[AuditReport, float]:
    """Return the report of an audit, and its processor time in forward passes of the images that it used."""
    began = time.process_time()
    report = audit(case.model, case.images, layer=case.layer, seed=seed)
    spent = time.process_time() - began
    forward = []
    with torch.no_grad():
        for _ in range(_TIMINGS):
            began = time.process_time()
            case.model(report.images)
            forward.append(time.process_time() - began)
    return report, spent / median(forward)


def _exhaustive(case: Case, report: AuditReport) -> Tensor:
    """Return exhaustive occlusion maps, in the order of the case: of all small images, and of the first large ones."""
    count = len(case.images) if case.images.shape[-1] <= _LARGEST_SIDE else _FEW
    images = case.images[:count]
    with torch.no_grad():
        predicted = case.model(images).argmax(dim=1)

    def score(occluded: Tensor) -> Tensor:
        with torch.no_grad():
            logits = (case.reference or case.model)(occluded)
        own = logits.gather(1, predicted[:, None])
        others = logits.scatter(1, predicted[:, None], -torch.inf).logsumexp(dim=1, keepdim=True)
        log_odds: Tensor = (own - others)[:, 0]
        return log_odds

    grid = tuple(report.occlusion_maps.shape[1:])
    return exhaustive_occlusion(score, images, (grid[0], grid[1]))


def _rows(
    point: Point, case: Case, report: AuditReport, passes: float, exhaustive: Tensor | None
) -> list[dict[str, Any]]:
    rows = []
    for name, result in report.by_method.items():
        row: dict[str, Any] = {
            "kind": point.kind,
            "seed": point.seed,
            "what": case.what,
            "batch": case.batch,
            "method": name,
            "verdict": result.verdict,
            "reason": result.reason,
            "images": len(report.images),
            "forward_passes": passes,
            "suspicion": report.suspicion,
            "p_supported": result.p_supported,
            "p_contradicted": result.p_contradicted,
            "unnoticed_share": result.unnoticed_share,
            **{key: estimate.value for key, estimate in result.estimates.items()},
            **case.facts,
        }
        if exhaustive is not None:
            known = report.indices < exhaustive.shape[1]
            if known.sum() >= _FEW // 2:
                row["exhaustive"] = agreement(report.maps[name][known], exhaustive[:, report.indices[known]])
        if case.hoax is not None:
            row["hoax"] = pearson(report.maps[name], case.hoax[None]).mean().item()
        if case.hoaxed_class is not None:
            row["names_hoaxed_class"] = case.hoaxed_class in result.scope
        rows.append(row)
    return rows
