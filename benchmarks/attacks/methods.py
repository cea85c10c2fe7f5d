"""The maps that are measured under attack, and two experimental methods among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from captum.attr import LayerActivation, LayerAttribution
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from benchmarks.common.clean_models import CleanModel
from benchmarks.common.localization import upsample
from benchmarks.common.manipulated_models import EQUIVARIANT, LOGSUMEXP, MAX, MEAN, PLAIN
from benchmarks.common.occlusion import occlusion_maps
from captum_diffcam import (
    CamMethod,
    ContrastScore,
    EquivariantPart,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
    top_rivals,
)

MapsOf: TypeAlias = Callable[[nn.Module, nn.Module, Tensor, Tensor], Tensor]
"""From a model, its layer, images and targets to maps (N, h, w)."""

TOP_LOGSUMEXP, TOP_MEAN = "logsumexp, top 5", "mean, top 5"
PLUS_PLUS_LOGSUMEXP = "++ logsumexp"
OCCLUSION, OCCLUSION_9 = "occlusion", "occlusion, 9 windows"
EQUIVARIANT_9 = f"{EQUIVARIANT[LOGSUMEXP]}, 9 shifts"
EQUIVARIANT_HALF_CELLS = f"{EQUIVARIANT[LOGSUMEXP]}, 25 shifts of half cells"
EQUIVARIANT_MIRRORED = f"{EQUIVARIANT[LOGSUMEXP]}, 9 shifts and the mirror image"
SCORE_CAM = "Score-CAM, 24 channel groups"
CANDIDATES = (LOGSUMEXP, MEAN, MAX, TOP_LOGSUMEXP, TOP_MEAN)
"""The candidates for the default reduction. The first is the present default."""
HALF_CELLS: Sequence[tuple[float, float]] = [(y / 2, x / 2) for y in range(-2, 3) for x in range(-2, 3)]
"""The 25 shifts by up to one cell, in steps of half a cell."""
_COARSE_GRID = (4, 4)
"""A grid of 4 x 4 cells has 9 windows of 2 x 2 cells."""


def measured_methods(clean: CleanModel) -> dict[str, MapsOf]:
    """Return every measured method, by name."""
    keywords = clean.keywords
    diff, plus_plus = (
        cast(Callable[..., LayerAttribution], partial(method, **clean.constructor))
        for method in (LayerDiffGradCam, LayerDiffGradCamPlusPlus)
    )

    def equivariant(shifts: int | Sequence[Sequence[float]], **contrast: Any) -> MapsOf:
        return CamMethod(
            lambda model, layer: EquivariantPart(diff(model, layer), shifts),
            **contrast,
            **keywords,
        ).maps

    def occlusion(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        return occlusion_maps(model, images, target, grid)

    def occlusion_9(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        return upsample(occlusion_maps(model, images, target, _COARSE_GRID), *grid)

    # LayerDiffGradCam without a contrast is LayerGradCam, and takes a layout.
    methods: dict[str, MapsOf] = {PLAIN: CamMethod(diff, contrast=[], **keywords).maps}
    with torch.no_grad():
        target = clean.model(clean.images[:1]).argmax(dim=1)
    grid = tuple(methods[PLAIN](clean.model, clean.layer, clean.images[:1], target).shape[1:])
    for name in (LOGSUMEXP, MEAN, MAX):
        methods[name] = CamMethod(diff, reduction=name, **keywords).maps
    for name, reduction in ((TOP_LOGSUMEXP, LOGSUMEXP), (TOP_MEAN, MEAN)):
        methods[name] = CamMethod(diff, contrast=top_rivals(5), reduction=reduction, **keywords).maps
    methods["++"] = CamMethod(plus_plus, contrast=[], **keywords).maps
    for name in (LOGSUMEXP, MEAN):
        methods[f"++ {name}"] = CamMethod(plus_plus, reduction=name, **keywords).maps
    methods[EQUIVARIANT[PLAIN]] = equivariant(2, contrast=[])
    for name in (LOGSUMEXP, MEAN):
        methods[EQUIVARIANT[name]] = equivariant(2, reduction=name)
    methods[EQUIVARIANT_9] = nine_shifts = equivariant(1, reduction=LOGSUMEXP)
    methods[EQUIVARIANT_HALF_CELLS] = equivariant(HALF_CELLS, reduction=LOGSUMEXP)
    methods[EQUIVARIANT_MIRRORED] = lambda model, layer, images, target: mirror_averaged(
        lambda batch: nine_shifts(model, layer, batch, target), images
    )
    if not clean.constructor:
        # It needs channels, which a layer of tokens does not have.
        methods[SCORE_CAM] = partial(grouped_score_cam, **keywords)
    methods[OCCLUSION_9] = occlusion_9
    methods[OCCLUSION] = occlusion
    return methods


def mirror_averaged(maps_of: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return the mean of the maps of images and of their mirror images, mirrored back; each scaled to unit norm."""
    both = (maps_of(images), maps_of(images.flip(-1)).flip(-1))
    return torch.stack([normalize(maps.flatten(1)).reshape(maps.shape) for maps in both]).mean(dim=0)


def grouped_score_cam(
    model: nn.Module,
    layer: nn.Module,
    images: Tensor,
    target: Tensor,
    groups: int = 24,
    *,
    attribute_to_layer_input: bool = False,
) -> Tensor:
    r"""Return maps of Score-CAM with groups of channels, which need no gradient.

    .. math:: M = \sum_g \bigl( D(x \cdot H_g + \bar{x} \cdot (1 - H_g)) - D(\bar{x}) \bigr) H_g

    :math:`H_g` is the mean activation of a group of channels, scaled to 0 to 1; :math:`\bar x` is the image in its mean
    colour and :math:`D` the log-odds of the target. Source: H. Wang et al., arXiv:1910.01279 (Score-CAM), where each
    channel is a group.

    Args:
        model: returns logits (N, C).
        layer: returns (N, channels, h, w).
        images: (N, 3, H, W).
        target: (N,).
        groups: the number of groups. Each takes one forward pass per image.
        attribute_to_layer_input: take the input of the layer instead of its output.

    Returns:
        ``(N, h, w)``
    """
    score = ContrastScore(model)
    activations: Tensor = LayerActivation(model, layer).attribute(
        images, attribute_to_layer_input=attribute_to_layer_input
    )
    means = [group.mean(dim=1, keepdim=True) for group in activations.chunk(groups, dim=1)]
    mean_colour = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    with torch.no_grad():
        baseline = _target_scores(score, mean_colour, target)
        maps = torch.zeros_like(means[0][:, 0])
        for mean in means:
            low, high = (getattr(mean, which)(dim=(2, 3), keepdim=True) for which in ("amin", "amax"))
            mask = (mean - low) / (high - low).clamp(min=1e-9)
            shown = interpolate(mask, images.shape[2:], mode="bilinear", align_corners=False)
            weight = _target_scores(score, images * shown + mean_colour * (1 - shown), target) - baseline
            maps += weight[:, None, None] * mask[:, 0]
    return maps


def _target_scores(score: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    scores: Tensor = score(images)
    return scores.gather(1, target[:, None])[:, 0]
