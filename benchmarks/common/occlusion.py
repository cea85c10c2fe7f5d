"""Occlusion maps at the resolution of a layer: what a prediction depends on, measured without any layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from captum.attr import Occlusion
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import interpolate

from captum_diffcam import ContrastScore

_BATCH, _WINDOWS_PER_EVAL = 8, 8
"""Their product is the number of images per forward pass."""
_CELLS = 2
"""The side of a window, in cells. Of 1, 2 and 3, 2 agreed best with maps of clean models that are not reported."""


def occlusion_maps(model: Module, images: Tensor, target: Tensor | int, grid: Sequence[int]) -> Tensor:
    r"""Return how far the target's log-odds fall when each cell of the image and its surroundings are hidden.

    Windows of 2 x 2 cells slide over the image cell by cell and show its mean colour. A pixel gets the mean over the
    windows that cover it of

    .. math:: D(x) - D(x \text{ with the window hidden}), \qquad D = \log \frac{p_c}{1 - p_c},

    and a cell gets the mean of its pixels.

    Args:
        model: returns logits (N, C).
        images: ``(N, channels, *size)``.
        target: the class of each image, (N,), or one for all.
        grid: the number of cells along each dimension of ``size``, usually the positions of a layer.

    Returns:
        ``(N, *grid)``, in nats.

    Raises:
        ValueError: the grid does not fit the images.

    Source: M. Zeiler, R. Fergus, arXiv:1311.2901, with :class:`captum.attr.Occlusion`.
    """
    channels, size = images.shape[1], tuple(images.shape[2:])
    if len(grid) != len(size) or any(not 0 < n <= length for n, length in zip(grid, size, strict=True)):
        raise ValueError(f"`grid` must have from 1 to {size} cells for images of this size, got {tuple(grid)}.")
    classes = torch.as_tensor(target, device=images.device).expand(len(images))
    strides = tuple(max(round(length / n), 1) for n, length in zip(grid, size, strict=True))
    window = tuple(min(_CELLS * stride, length) for stride, length in zip(strides, size, strict=True))
    occlusion = Occlusion(ContrastScore(model))
    maps = []
    with torch.no_grad():
        for batch, batch_classes in zip(torch.split(images, _BATCH), torch.split(classes, _BATCH), strict=True):
            mean_colour = batch.flatten(2).mean(dim=2).reshape(-1, channels, *[1] * len(size))
            falls = occlusion.attribute(
                batch,
                sliding_window_shapes=(channels, *window),
                strides=(channels, *strides),
                baselines=mean_colour.expand_as(batch),
                target=batch_classes,
                perturbations_per_eval=_WINDOWS_PER_EVAL,
            )
            # A window hides all channels, so they have the same values.
            maps.append(interpolate(falls[:, :1].float(), tuple(grid), mode="area")[:, 0])
    return torch.cat(maps)
