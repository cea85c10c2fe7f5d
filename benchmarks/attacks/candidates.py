"""Other ways to a map that stays grounded, tried and measured beside the library's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from captum.attr import LayerActivation
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from captum_diffcam import ContrastScore

_GROUPS = 24


def mirrored(maps_of: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """The mean of the maps of images and of their mirror images, mirrored back; each of unit norm."""
    both = (maps_of(images), maps_of(images.flip(-1)).flip(-1))
    return torch.stack([normalize(maps.flatten(1)).reshape(maps.shape) for maps in both]).mean(dim=0)


def score_weighted(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor, groups: int = _GROUPS) -> Tensor:
    r"""Channels in groups, each weighted by what it lets the model decide: no gradient is asked.

    .. math:: M = \sum_g \bigl( D(x \cdot H_g + \bar{x} \cdot (1 - H_g)) - D(\bar{x}) \bigr) H_g

    :math:`H_g` is the mean activation of a group of channels, scaled to 0 to 1; :math:`\bar x` the image in its mean
    colour and :math:`D` the log-odds of the target. Source: H. Wang et al., arXiv:1910.01279 (Score-CAM), which masks
    by each channel alone.

    Args:
        model: returns logits (N, C).
        layer: puts out (N, channels, h, w).
        images: (N, 3, H, W)
        target: (N,)
        groups: as many forward passes for an image, and one.

    Returns:
        ``(N, h, w)``
    """
    score = ContrastScore(model)
    activations: Tensor = LayerActivation(model, layer).attribute(images)
    means = [part.mean(dim=1, keepdim=True) for part in activations.chunk(groups, dim=1)]
    grey = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    with torch.no_grad():
        nothing = _of(score, grey, target)
        maps = torch.zeros_like(means[0][:, 0])
        for mean in means:
            low, high = (getattr(mean, which)(dim=(2, 3), keepdim=True) for which in ("amin", "amax"))
            mask = (mean - low) / (high - low).clamp(min=1e-9)
            seen = interpolate(mask, images.shape[2:], mode="bilinear", align_corners=False)
            weight = _of(score, images * seen + grey * (1 - seen), target) - nothing
            maps += weight[:, None, None] * mask[:, 0]
    return maps


def _of(score: nn.Module, images: Tensor, target: Tensor) -> Tensor:
    """The log-odds of each image's target."""
    scores: Tensor = score(images)
    return scores.gather(1, target[:, None])[:, 0]


HALF_CELLS: Sequence[tuple[float, float]] = [(y / 2, x / 2) for y in range(-2, 3) for x in range(-2, 3)]
"""As many shifts as the square of two cells has, half as wide."""
