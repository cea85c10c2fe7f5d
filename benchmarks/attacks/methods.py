"""The maps that are measured, each a function of a model alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from captum.attr import LayerAttribution
from torch import Tensor, nn

from benchmarks.attacks.candidates import HALF_CELLS, mirrored, score_weighted
from benchmarks.common.localization import upsample
from benchmarks.common.occlusion import occlusion_maps
from benchmarks.common.victims import Victim
from captum_diffcam import CamMethod, EquivariantPart, LayerDiffGradCam, LayerDiffGradCamPlusPlus, top_rivals

MapsOf: TypeAlias = Callable[[nn.Module, nn.Module, Tensor, Tensor], Tensor]
"""From a model, its layer, images and targets to maps (N, h, w)."""

GRAD_CAM, LOGSUMEXP, MEAN, MAX = "Grad-CAM", "logsumexp", "mean", "max"
TOP_LOGSUMEXP, TOP_MEAN = "logsumexp, top 5", "mean, top 5"
OCCLUSION, FEW_WINDOWS = "occlusion", "occlusion, 9 windows"
MOVING = {name: f"equivariant part, {name}" for name in (GRAD_CAM, LOGSUMEXP, MEAN)}
NINE = "equivariant part, logsumexp, 9 shifts"
HALVES = "equivariant part, logsumexp, 25 shifts of half cells"
MIRRORED = "equivariant part, logsumexp, 9 shifts and the mirror image"
SCORED = "Score-CAM, 24 channel groups"
REDUCTIONS = (LOGSUMEXP, MEAN, MAX, TOP_LOGSUMEXP, TOP_MEAN)
"""The candidates for the default, which is the first."""
_FEW = (4, 4)


def measured_methods(victim: Victim) -> dict[str, MapsOf]:
    """Every method by name."""
    keywords = victim.keywords
    plain: Callable[..., LayerAttribution] = partial(LayerDiffGradCam, **victim.constructor)
    plus_plus: Callable[..., LayerAttribution] = partial(LayerDiffGradCamPlusPlus, **victim.constructor)

    def moving(shifts: int | Sequence[Sequence[float]], **contrast: Any) -> MapsOf:
        return CamMethod(
            lambda model, layer: EquivariantPart(plain(model, layer), shifts),
            **contrast,
            **keywords,
        ).maps

    def occlusion(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        return occlusion_maps(model, images, target, grid)

    def few_windows(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        return upsample(occlusion_maps(model, images, target, _FEW), *grid)

    # Ours without a contrast is Captum's, and knows other layouts.
    methods: dict[str, MapsOf] = {GRAD_CAM: CamMethod(plain, contrast=[], **keywords).maps}
    with torch.no_grad():
        target = victim.model(victim.images[:1]).argmax(dim=1)
    grid = tuple(methods[GRAD_CAM](victim.model, victim.layer, victim.images[:1], target).shape[1:])
    for name in (LOGSUMEXP, MEAN, MAX):
        methods[name] = CamMethod(plain, reduction=name, **keywords).maps
    for name, reduction in ((TOP_LOGSUMEXP, LOGSUMEXP), (TOP_MEAN, MEAN)):
        methods[name] = CamMethod(plain, contrast=top_rivals(5), reduction=reduction, **keywords).maps
    methods["++"] = CamMethod(plus_plus, contrast=[], **keywords).maps
    for name in (LOGSUMEXP, MEAN):
        methods[f"++ {name}"] = CamMethod(plus_plus, reduction=name, **keywords).maps
    methods[MOVING[GRAD_CAM]] = moving(2, contrast=[])
    for name in (LOGSUMEXP, MEAN):
        methods[MOVING[name]] = moving(2, reduction=name)
    methods[NINE] = nine = moving(1, reduction=LOGSUMEXP)
    methods[HALVES] = moving(HALF_CELLS, reduction=LOGSUMEXP)
    methods[MIRRORED] = lambda model, layer, images, target: mirrored(
        lambda some: nine(model, layer, some, target), images
    )
    methods[SCORED] = score_weighted
    methods[FEW_WINDOWS] = few_windows
    methods[OCCLUSION] = occlusion
    return methods
