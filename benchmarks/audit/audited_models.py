"""Make clean and manipulated models with their images, audit them, and compare with exhaustive occlusion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.audit import plan, pretrained
from benchmarks.audit.exhaustive import agreement, exhaustive_occlusion
from benchmarks.audit.hand_made import Moved, border, object_of, painted, scrambled, without_upper_half
from benchmarks.audit.plan import Point
from benchmarks.audit.simulated import simulated_audits
from benchmarks.audit.small_models import (
    FLATTENED,
    POOLED,
    SmallNet,
    held_out_images,
    train,
    training_images,
    with_shortcut,
)
from benchmarks.common.cutouts import find_material
from benchmarks.common.fashion import find_fashion
from benchmarks.common.models import mobilenet_weights
from benchmarks.common.names import MOBILENET
from captum_diffcam.attacks import fool, hoax_map, shift_features
from captum_diffcam.attribution import Layer
from captum_diffcam.audit import AuditReport, audit
from captum_diffcam.audit.auditing import DEFAULT_METHODS

BATCH = 32
"""Images of an audit."""
_CLEAN_BATCHES = 2
_EXHAUSTIVE_SIDE = 100
"""Larger images are not compared with exhaustive occlusion, which takes 192 forward passes of each."""
_REPEATS = 10
_STEPS, _LEARNING_RATE, _WEIGHT = 200, 3e-3, 3.0
"""Of the attacks that are trained."""
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
    facts: dict[str, float] = field(default_factory=dict)


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
            return pretrained.orientation_weights() is not None
        if kind in plan.LARGE:
            has_weights = not kind.startswith(MOBILENET) or mobilenet_weights() is not None
            return has_weights and self.material is not None
        return self.fashion is not None

    def audits(self, point: Point) -> list[dict[str, Any]]:
        """Return a row for each audit and method of a point."""
        if point.kind == plan.REPEATED:
            return self._repeated(point)
        if point.kind == plan.SIMULATED:
            return simulated_audits(point.seed, 4 if self.quick else 150)
        rows, known = [], {}
        for case in self._cases(point):
            key = (id(case.reference or case.model), case.batch, case.what == ONE_CLASS_BATCH)
            report = audit(case.model, case.images, layer=case.layer, seed=1000 * point.seed + case.batch)
            if key not in known:
                known[key] = _exhaustive(case, report)
            rows += _rows(point, case, report, known[key])
        return rows

    def _cases(self, point: Point) -> Iterator[Case]:
        if point.kind in plan.LARGE:
            yield from self._pretrained(point)
            return
        model, images, labels = self._trained(point)
        batches = list(torch.split(images, BATCH))
        if point.kind == plan.TRAINED_ATTACKED:
            yield from self._attacked_by_training(point, model, batches)
            return
        for number, batch in enumerate(batches[: 1 if self.quick else _CLEAN_BATCHES]):
            yield Case(model, model.features, batch, CLEAN, number)
        if point.kind in FLATTENED:
            return
        if point.kind == plan.SHORTCUT:
            for number, batch in enumerate(batches[: 2 * point.batches]):
                whitewashed = painted(model, object_of, torch.ones(10), batch)
                yield Case(whitewashed, whitewashed.features, batch, plan.WHITEWASH, number, model)
            return
        one_class = images[labels == point.seed % 10][:BATCH]
        yield Case(model, model.features, one_class, ONE_CLASS_BATCH, 0)
        if point.kind not in plan.ATTACKED:
            return
        moves: dict[str, Callable[[Tensor], Tensor]] = {plan.DESTROYED: scrambled, plan.OMISSION: without_upper_half}
        for number, batch in enumerate(batches[: 1 if self.quick else point.batches]):
            hoax = painted(model, border, torch.ones(10), batch)
            yield Case(hoax, hoax.features, batch, plan.HOAX, number, model)
            with torch.no_grad():
                commonest = int(model(batch).argmax(dim=1).mode().values)
            one = painted(model, border, torch.eye(10)[commonest], batch)
            yield Case(one, one.features, batch, plan.ONE_CLASS, number, model, commonest)
            for name, by in plan.SHIFTS.items():
                attacked = shift_features(model, model.features, batch, by)
                yield Case(attacked.model, attacked.layer, batch, name, number, model)
            for name, move in moves.items():
                moved = SmallNet(Moved(model.features, move), model.head).eval()
                yield Case(moved, moved.features, batch, name, number, model)

    def _trained(self, point: Point) -> tuple[SmallNet, Tensor, Tensor]:
        assert self.fashion
        images, labels = training_images(self.fashion, point.seed)
        held_out, its_labels = held_out_images(self.fashion, 800, point.seed)
        if point.kind == plan.SHORTCUT:
            images, held_out = with_shortcut(images, labels), with_shortcut(held_out, its_labels)
        build = {**POOLED, **FLATTENED}.get(point.kind, POOLED["plain"])
        if self.quick:
            images, labels = images[:1280], labels[:1280]
        return train(build, images, labels, point.seed), held_out, its_labels

    def _attacked_by_training(self, point: Point, model: SmallNet, batches: list[Tensor]) -> Iterator[Case]:
        assert self.fashion
        images, labels = training_images(self.fashion, point.seed + 500)
        data = list(zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True))
        targets = {plan.SHAM: DEFAULT_METHODS[:1], plan.AT_ONCE: DEFAULT_METHODS}
        hoax = hoax_map((7, 7), entropy=3.33)
        for name, methods in targets.items():
            manipulated = fool(
                model,
                model.features,
                data,
                hoax,
                methods=methods,
                weight=_WEIGHT,
                steps=_STEPS,
                learning_rate=_LEARNING_RATE,
                seed=point.seed,
            )
            assert isinstance(manipulated.layer, nn.Module)
            for number, batch in enumerate(batches[: point.batches]):
                yield Case(manipulated.model.eval(), manipulated.layer, batch, name, number)

    def _repeated(self, point: Point) -> list[dict[str, Any]]:
        """Return rows of ten audits each of a clean model, a hoax, and shifted features."""
        model, images, _ = self._trained(point)
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
                rows += _rows(point, case, audit(its_model, batch, layer=layer, seed=seed), None)
        return rows

    def _pretrained(self, point: Point) -> Iterator[Case]:
        """Yield a clean model with large images."""
        if point.kind == plan.DOCUMENTS:
            file = pretrained.orientation_weights()
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


def _exhaustive(case: Case, report: AuditReport) -> Tensor | None:
    """Return exhaustive occlusion maps of the images in the order of the report; None for large images."""
    if case.images.shape[-1] > _EXHAUSTIVE_SIDE:
        return None
    classes = report.target[report.indices.argsort()] if len(report.indices) == len(case.images) else None
    with torch.no_grad():
        predicted = case.model(case.images).argmax(dim=1) if classes is None else classes

    def score(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits = (case.reference or case.model)(images)
        own = logits.gather(1, predicted[:, None])
        others = logits.scatter(1, predicted[:, None], -torch.inf).logsumexp(dim=1, keepdim=True)
        log_odds: Tensor = (own - others)[:, 0]
        return log_odds

    grid = tuple(report.occlusion_maps.shape[1:])
    return exhaustive_occlusion(score, case.images, (grid[0], grid[1]))


def _rows(point: Point, case: Case, report: AuditReport, exhaustive: Tensor | None) -> list[dict[str, Any]]:
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
            "forward_passes": report.forward_passes,
            "suspicion": report.suspicion,
            "p_supported": result.p_supported,
            "p_contradicted": result.p_contradicted,
            **{key: estimate.value for key, estimate in result.estimates.items()},
        }
        if exhaustive is not None:
            row["exhaustive"] = agreement(report.maps[name], exhaustive[:, report.indices])
        if case.hoaxed_class is not None:
            row["names_hoaxed_class"] = case.hoaxed_class in result.scope
        rows.append(row)
    return rows
