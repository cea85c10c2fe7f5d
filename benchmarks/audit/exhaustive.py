"""What the audit is compared with: occlusion by windows at every position, with three fills."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_diffcam.metrics import pearson

_CELLS = 2
"""Side of a window, in cells."""
_MIN_RELIABILITY = 0.05


def exhaustive_occlusion(score: Callable[[Tensor], Tensor], images: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return occlusion maps with windows at a stride of one cell: ``(3, N, *grid)``, one for each fill.

    ``score`` takes occluded copies of all images, (N, channels, H, W), and returns (N,). A cell has the mean fall of
    the windows that hide it.
    """
    height, width = images.shape[2:]
    rows, columns = (
        torch.linspace(0, size, cells + 1).round().int().tolist()
        for size, cells in ((height, grid[0]), (width, grid[1]))
    )
    other = images.roll(1, 0).flip(3)
    coarse = interpolate(images, size=(4, 4), mode="area")
    fills = [
        images.mean(dim=(2, 3), keepdim=True).expand_as(images),
        interpolate(coarse, size=(height, width), mode="bilinear"),
        other,
    ]
    clean = score(images)
    maps = torch.zeros(len(fills), len(images), *grid)
    counts = torch.zeros(grid)
    for row in range(1 - _CELLS, grid[0]):
        for column in range(1 - _CELLS, grid[1]):
            top, bottom = max(row, 0), min(row + _CELLS, grid[0])
            left, right = max(column, 0), min(column + _CELLS, grid[1])
            window = (..., slice(rows[top], rows[bottom]), slice(columns[left], columns[right]))
            counts[top:bottom, left:right] += 1
            for fill, its_maps in zip(fills, maps, strict=True):
                occluded = images.clone()
                occluded[window] = fill[window]
                fall = (clean - score(occluded)) / ((bottom - top) * (right - left))
                its_maps[:, top:bottom, left:right] += fall[:, None, None]
    return maps / counts


def agreement(maps: Tensor, occlusion_maps: Tensor) -> float:
    """Return the mean correlation with the occlusion maps of all fills, corrected for what the fills add as noise.

    The reliability of the mean of three is that of Spearman and Brown. NaN if the fills do not agree at all.
    """
    count = len(occlusion_maps)
    pairs = [pearson(occlusion_maps[i], occlusion_maps[j]).mean() for i in range(count) for j in range(i)]
    single = torch.stack(pairs).mean().item()
    if single < _MIN_RELIABILITY:
        return float("nan")
    reliability = count * single / (1 + (count - 1) * single)
    return float(pearson(maps, occlusion_maps.mean(dim=0)).mean().item() / reliability**0.5)
