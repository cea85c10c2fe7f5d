"""The maps that are compared under the attacks of a model's owner: contrasts, other scores, and published defences."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from captum.attr import LayerActivation, LayerGradCam, LayerGradientXActivation
from torch import Tensor, nn

from benchmarks.common.localization import upsample
from benchmarks.common.occlusion import occlusion_maps
from benchmarks.common.probability import SCORES, Transformed
from benchmarks.common.staged import Memoized
from captum_diffcam import (
    CalibratedMap,
    CamMethod,
    ContrastScore,
    EquivariantPart,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
    LayerDiffHiResCam,
    top_rivals,
)

GRAD_CAM, DIFF = "Grad-CAM", "DiffGradCAM"
MEAN, RIVAL = "DiffGradCAM, mean", "DiffGradCAM, one rival"
PLUS_PLUS, HIRES = "DiffGradCAM++", "contrastive HiResCAM"
EQUIVARIANT, CALIBRATED = "equivariant part", "calibrated map, 9 windows"
OCCLUSION, WINDOWS = "occlusion, 9 windows", "reconstruction from 9 windows"
GRAD_CAM_NORM, DIFF_NORM = "Grad-CAM, re-estimated statistics", "DiffGradCAM, re-estimated statistics"
GRAD_CAM_TANGENT, DIFF_TANGENT = "Grad-CAM, tangent space", "DiffGradCAM, tangent space"
METHODS = {
    GRAD_CAM: CamMethod(LayerGradCam),
    DIFF: CamMethod(LayerDiffGradCam),
    MEAN: CamMethod(LayerDiffGradCam, reduction="mean"),
    RIVAL: CamMethod(LayerDiffGradCam, contrast=top_rivals(1)),
    PLUS_PLUS: CamMethod(LayerDiffGradCamPlusPlus),
    HIRES: CamMethod(LayerDiffHiResCam),
    EQUIVARIANT: CamMethod(lambda model, layer: EquivariantPart(LayerDiffGradCam(model, layer), 1), shifts_per_eval=9),
    CALIBRATED: CamMethod(lambda model, layer: CalibratedMap(LayerDiffGradCam(model, layer)), windows_per_eval=9),
    WINDOWS: CamMethod(
        lambda model, layer: CalibratedMap(LayerDiffGradCam(model, layer), use_map=False), windows_per_eval=9
    ),
}
UNCHANGED_BY_OFFSETS = (
    *(DIFF, MEAN, RIVAL, PLUS_PLUS, HIRES, EQUIVARIANT, CALIBRATED, WINDOWS, OCCLUSION),
    *[name for name in SCORES if "ReST" not in name],
)
"""Maps that a term added to all logits cannot change, by proof: those of the contrast, and of the softmax."""
UNCHANGED_BY_LAYERS = (OCCLUSION, WINDOWS)
"""Maps that only depend on the outputs of the model."""
_COARSE = (4, 4)
"""A grid of 4 x 4 cells has 9 windows of 2 x 2 cells."""
_NEIGHBOURS, _DIMENSIONS = 40, 20
"""Of the tangent space: the training images that span it, and its dimensions. They were not tuned."""


def all_maps(
    model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor, many: Tensor, training: Tensor
) -> dict[str, Tensor]:
    """Return the maps of every method, by name. Shape: (N, h, w).

    Args:
        model: returns logits (N, C).
        layer: the layer to explain.
        images: (N, channels, H, W).
        target: (N,).
        many: images of the auditor, to estimate the statistics of batch normalisation from.
        training: images among which the nearest ones span the tangent space.
    """
    maps = {name: method.maps(model, layer, images, target) for name, method in METHODS.items()}
    for name, score in SCORES.items():
        maps[name] = METHODS[GRAD_CAM].maps(Transformed(model, score), layer, images, target)
    maps[OCCLUSION] = upsample(occlusion_maps(model, images, target, _COARSE), *maps[DIFF].shape[1:])
    estimated, estimated_layer = copy.deepcopy((model, layer))
    _estimate_statistics(estimated, many)
    for name, method in ((GRAD_CAM_NORM, GRAD_CAM), (DIFF_NORM, DIFF)):
        maps[name] = METHODS[method].maps(estimated, estimated_layer, images, target)
    neighbours = nearest(images, training, _NEIGHBOURS)
    scored = {GRAD_CAM_TANGENT: model, DIFF_TANGENT: ContrastScore(model)}
    return {**maps, **tangent_space_maps(scored, layer, images, target, neighbours)}


def _estimate_statistics(model: nn.Module, images: Tensor) -> None:
    """Replace the statistics of batch normalisation by those of the auditor's images, after arXiv:2403.16569."""
    for module in model.modules():
        if isinstance(module, Memoized):
            # What it remembers belongs to the other statistics.
            module.compute = module.module
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for batch in torch.split(images[:512], 128):
            model(batch)
    model.eval()


def nearest(images: Tensor, others: Tensor, count: int) -> Tensor:
    """Return the nearest of other images to each image, by Euclidean distance. Shape: (N, count, channels, H, W)."""
    distances = torch.cdist(images.flatten(1), others.flatten(1))
    return others[distances.topk(min(count, len(others)), largest=False).indices]


def tangent_space_maps(
    scored: Mapping[str, nn.Module], layer: nn.Module, images: Tensor, target: Tensor, neighbours: Tensor
) -> dict[str, Tensor]:
    r"""Return maps of Grad-CAM whose gradient is projected onto the tangent space of the layer's features.

    The gradient :math:`g` of the score by the layer's features is replaced by :math:`P g`. :math:`P` projects onto the
    principal components of the differences between the features of the neighbours and those of the image.

    Args:
        scored: by name, a model that returns the scores (N, C) to explain. All have the same layer.
        layer: returns (N, channels, h, w).
        images: (N, ...).
        target: (N,).
        neighbours: (N, K, ...), images close to each image.

    Returns:
        ``(N, h, w)`` by name.

    Source: C. Anders et al., arXiv:2007.09969, who project gradients of the input; the projection at the layer is ours.
    """
    features = LayerActivation(next(iter(scored.values())), layer)
    gradients = {
        name: LayerGradientXActivation(model, layer, multiply_by_inputs=False).attribute(images, target)
        for name, model in scored.items()
    }
    maps: dict[str, list[Tensor]] = {name: [] for name in scored}
    with torch.no_grad():
        for i, (image, near) in enumerate(zip(images, neighbours, strict=True)):
            own = features.attribute(image[None])
            differences = (features.attribute(near) - own).flatten(1)
            directions = torch.linalg.svd(differences, full_matrices=False).Vh[:_DIMENSIONS]
            for name, gradient in gradients.items():
                projected = (directions.T @ (directions @ gradient[i].flatten())).reshape(own.shape)
                maps[name].append((projected.mean(dim=(2, 3), keepdim=True) * own).sum(dim=1)[0])
    return {name: torch.stack(of_images) for name, of_images in maps.items()}
