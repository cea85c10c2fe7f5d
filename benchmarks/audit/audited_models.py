"""Make clean and manipulated models with their images, audit them, and compare with exhaustive occlusion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.audit import plan
from benchmarks.audit.exhaustive import agreement, exhaustive_occlusion
from benchmarks.audit.hand_made import Moved, border, object_of, painted, scrambled, shifted, without_upper_half
from benchmarks.audit.plan import Point
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
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.models import IMAGENET, load_classifier, mobilenet_weights
from benchmarks.common.names import MOBILENET
from benchmarks.common.options import SkippedError
from captum_diffcam.attacks import fool, hoax_map
from captum_diffcam.audit import AuditReport, audit
from captum_diffcam.audit.auditing import DEFAULT_METHODS

BATCH = 32
"""Images of an audit."""
_CLEAN_BATCHES, _ATTACKED_BATCHES, _WHITEWASHED_BATCHES, _PRETRAINED_BATCHES = 2, 2, 4, 1
_REPEATS = 10
_STEPS, _LEARNING_RATE, _WEIGHT = 200, 3e-3, 3.0
"""Of the attacks that are trained."""
CLEAN, ONE_CLASS_BATCH = "clean", "clean, batch of one class"


@dataclass(frozen=True)
class Case:
    """A model and images to audit, and what is known about it."""

    model: nn.Module
    layer: nn.Module
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
        if kind.startswith(MOBILENET):
            return mobilenet_weights() is not None
        return kind in plan.PRETRAINED or self.fashion is not None

    def audits(self, point: Point) -> list[dict[str, Any]]:
        """Return a row for each audit and method of a point."""
        if point.kind == plan.REPEATED:
            return self._repeated(point)
        rows, known = [], {}
        for case in self._cases(point):
            key = (id(case.reference or case.model), case.batch, case.what == ONE_CLASS_BATCH)
            report = audit(case.model, case.images, layer=case.layer, seed=1000 * point.seed + case.batch)
            if key not in known:
                known[key] = _exhaustive(case, report)
            rows += _rows(point, case, report, known[key])
        return rows

    def _cases(self, point: Point) -> Iterator[Case]:
        if point.kind in plan.PRETRAINED:
            model, layer, images = self._pretrained(point)
            for number, batch in enumerate(torch.split(images, BATCH)):
                if len(batch) == BATCH:
                    yield Case(model, layer, batch, CLEAN, number)
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
            for number, batch in enumerate(batches[:_WHITEWASHED_BATCHES]):
                whitewashed = painted(model, object_of, torch.ones(10), batch)
                yield Case(whitewashed, whitewashed.features, batch, plan.WHITEWASH, number, model)
            return
        one_class = images[labels == point.seed % 10][:BATCH]
        yield Case(model, model.features, one_class, ONE_CLASS_BATCH, 0)
        if point.kind not in plan.ATTACKED:
            return
        moves: dict[str, Callable[[Tensor], Tensor]] = {
            **{name: shifted(by) for name, by in plan.SHIFTS.items()},
            plan.DESTROYED: scrambled,
            plan.OMISSION: without_upper_half,
        }
        for number, batch in enumerate(batches[: 1 if self.quick else _ATTACKED_BATCHES]):
            hoax = painted(model, border, torch.ones(10), batch)
            yield Case(hoax, hoax.features, batch, plan.HOAX, number, model)
            with torch.no_grad():
                commonest = int(model(batch).argmax(dim=1).mode().values)
            one = painted(model, border, torch.eye(10)[commonest], batch)
            yield Case(one, one.features, batch, plan.ONE_CLASS, number, model, commonest)
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
            for number, batch in enumerate(batches[:_ATTACKED_BATCHES]):
                yield Case(manipulated.model.eval(), manipulated.layer, batch, name, number)

    def _repeated(self, point: Point) -> list[dict[str, Any]]:
        """Return rows of ten audits each of a clean model, a hoax, and shifted features."""
        model, images, _ = self._trained(point)
        batch = images[:BATCH]
        hoax = painted(model, border, torch.ones(10), batch)
        moved = SmallNet(Moved(model.features, shifted((1, 1))), model.head).eval()
        rows = []
        for what, its_model in ((CLEAN, model), (plan.HOAX, hoax), ("shifted by (1, 1)", moved)):
            for seed in range(_REPEATS):
                case = Case(its_model, its_model.features, batch, what, 0)
                rows += _rows(point, case, audit(its_model, batch, layer=its_model.features, seed=seed), None)
        return rows

    def _pretrained(self, point: Point) -> tuple[nn.Module, nn.Module, Tensor]:
        model: Any = load_classifier(MOBILENET, None, torch.device("cpu")).model
        mean, std, layer = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), model.features
        count = _PRETRAINED_BATCHES * BATCH
        files = packaged_photographs() + (list(self.material.backgrounds) if self.material else [])
        preprocess = IMAGENET.transforms(mean=mean, std=std)
        photographs: list[Tensor] = []
        for index in torch.randperm(len(files), generator=torch.Generator().manual_seed(point.seed)).tolist():
            try:
                photographs.append(preprocess(load_image(files[index])))
            except SkippedError:
                continue
            if len(photographs) == count:
                break
        return model.eval(), layer, torch.stack(photographs)


def _exhaustive(case: Case, report: AuditReport) -> Tensor | None:
    """Return exhaustive occlusion maps of the images in the order of the report; None for large images."""
    if case.images.shape[-1] > 100:
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
