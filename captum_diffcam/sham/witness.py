"""What the decision depends on, found without any map: occlusion of the input."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from captum.attr import FeatureAblation
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import interpolate
from tqdm import tqdm

from captum_diffcam.score import ContrastScore

_IMAGES, _CELLS = 8, 8
"""At once: as many forwards as their product."""


def occlusion_witness(model: Module, images: Tensor, target: Tensor, grid: Sequence[int]) -> Tensor:
    r"""By how much the target's log-odds fall when a cell of the image is greyed out, cell by cell.

    .. math:: W_i = D(x) - D(x \text{ with cell } i \text{ in the image's mean colour}), \qquad
        D = \log \frac{p_c}{1 - p_c}

    It asks what the model decides and never looks inside, so a model cannot lie to it without deciding otherwise.

    Args:
        model: returns logits (N, C).
        images: ``(N, channels, *size)``
        target: (N,), the class of each image.
        grid: the number of cells along each dimension of ``size``, usually the positions of a layer.

    Returns:
        ``(N, *grid)``, in nats.

    Raises:
        ValueError: the grid does not fit the images.

    Source: M. Zeiler, R. Fergus, arXiv:1311.2901, through :class:`captum.attr.FeatureAblation`.

    Example:
        >>> import torch
        >>> from captum_diffcam.sham import occlusion_witness
        >>> pool, linear = torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(3, 10)
        >>> model = torch.nn.Sequential(pool, torch.nn.Flatten(), linear)
        >>> occlusion_witness(model, torch.rand(2, 3, 32, 32), torch.tensor([3, 7]), (4, 4)).shape
        torch.Size([2, 4, 4])
    """
    size, cells = images.shape[2:], math.prod(grid)
    if len(grid) != len(size) or any(not 0 < n <= length for n, length in zip(grid, size, strict=True)):
        raise ValueError(
            f"grid: got {tuple(grid)} for images of {tuple(size)}; allowed are 1 to as many cells as pixels"
        )
    numbers = torch.arange(cells, device=images.device).reshape(1, 1, *grid)
    # In floating point, because integers are not interpolated; exact up to 16 million cells.
    mask = interpolate(numbers.float(), size, mode="nearest").long()
    ablation = FeatureAblation(ContrastScore(model))
    drops = images.new_zeros(len(images), cells, dtype=torch.float32)
    chunks = [slice(start, start + _IMAGES) for start in range(0, len(images), _IMAGES)]
    with torch.no_grad():
        for chunk in tqdm(chunks, desc="occlude", leave=False):
            grey = images[chunk].flatten(2).mean(dim=2).reshape(-1, images.shape[1], *[1] * len(size))
            dropped = ablation.attribute(
                images[chunk],
                baselines=grey.expand_as(images[chunk]),
                target=target[chunk],
                feature_mask=mask,
                perturbations_per_eval=_CELLS,
            )
            # Every pixel of a cell holds the same.
            drops[chunk, mask.flatten()] = dropped[:, 0].flatten(1).float()
    return drops.reshape(-1, *grid)
