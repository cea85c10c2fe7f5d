"""What the decision depends on, found without any map: occlusion of the input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from captum.attr import Occlusion
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import interpolate
from tqdm import tqdm

from captum_diffcam.score import ContrastScore

_IMAGES, _WINDOWS = 8, 8
"""At once: as many forwards as their product."""
_CELLS = 2
"""The side of a window. Of 1, 2 and 3 cells it agreed best with honest maps, on other models than are reported."""


def occlusion_witness(model: Module, images: Tensor, target: Tensor | int, grid: Sequence[int]) -> Tensor:
    r"""By how much the target's log-odds fall when the surroundings of a cell of the image are greyed out.

    Windows of 2 x 2 cells, in the image's mean colour, slide over the image cell by cell. A pixel gets the mean of

    .. math:: D(x) - D(x \text{ behind the window}), \qquad D = \log \frac{p_c}{1 - p_c},

    over the windows that cover it, and a cell the mean of its pixels. This asks only what the model decides, so what is
    done to the maps of a layer does not reach it. A model that was taught to recognise grey windows still deceives it.

    Args:
        model: returns logits (N, C).
        images: ``(N, channels, *size)``
        target: (N,), the class of each image, or one for all.
        grid: the number of cells along each dimension of ``size``, usually the positions of a layer.

    Returns:
        ``(N, *grid)``, in nats.

    Raises:
        ValueError: the grid does not fit the images.

    Source: M. Zeiler, R. Fergus, arXiv:1311.2901, through :class:`captum.attr.Occlusion`.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit import occlusion_witness
        >>> pool, linear = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(3, 10)
        >>> model = torch.nn.Sequential(pool, torch.nn.Flatten(), linear)
        >>> occlusion_witness(model, torch.rand(2, 3, 32, 32), torch.tensor([3, 7]), (4, 4)).shape
        torch.Size([2, 4, 4])
    """
    channels, size = images.shape[1], tuple(images.shape[2:])
    if len(grid) != len(size) or any(not 0 < n <= length for n, length in zip(grid, size, strict=True)):
        raise ValueError(f"grid: got {tuple(grid)} for images of {size}; allowed are 1 to as many cells as pixels")
    classes = torch.as_tensor(target, device=images.device).expand(len(images))
    strides = tuple(max(round(length / n), 1) for n, length in zip(grid, size, strict=True))
    window = tuple(min(_CELLS * stride, length) for stride, length in zip(strides, size, strict=True))
    occlusion = Occlusion(ContrastScore(model))
    drops = []
    with torch.no_grad():
        chunks = list(zip(torch.split(images, _IMAGES), torch.split(classes, _IMAGES), strict=True))
        for chunk, chunk_classes in tqdm(chunks, desc="occlude", leave=False):
            grey = chunk.flatten(2).mean(dim=2).reshape(-1, channels, *[1] * len(size))
            dropped = occlusion.attribute(
                chunk,
                sliding_window_shapes=(channels, *window),
                strides=(channels, *strides),
                baselines=grey.expand_as(chunk),
                target=chunk_classes,
                perturbations_per_eval=_WINDOWS,
            )
            # Every channel holds the same.
            drops.append(interpolate(dropped[:, :1].float(), tuple(grid), mode="area")[:, 0])
    return torch.cat(drops)
