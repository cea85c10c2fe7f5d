"""What the decision on an image depends on, asked with windows and fills that nobody can know beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import interpolate

FILLS = ("mean", "blur", "other")
"""What hides a window: the image's mean colour, the image itself without detail, or a part of a random image."""

_PARTS = {1: (6,), 2: (2, 3)}
"""Into how many parts a tiling cuts the dimensions of a series, and those of an image."""
_IMAGES = 8
"""So many are cut at a time."""
_COARSE = 4
"""To so many places along each dimension an image is reduced before it is smoothly enlarged again."""

Score = Callable[[Tensor, Tensor], Tensor]
"""From images ``(B, channels, *size)`` and numbers of images (B,) to the score of each, (B,)."""


def tiled_witness(
    score: Score,
    images: Tensor,
    grid: Sequence[int],
    generator: torch.Generator,
    *,
    whole: Tensor,
    others: Tensor,
    fills: Sequence[str] = FILLS,
) -> Tensor:
    r"""By how much a score falls when a part of the image is hidden: one tiling of each image.

    Each image is cut into windows that cover it, at random places: two parts along one dimension and three along the
    other, none smaller than a third of another. A window is hidden behind a random one of the fills. A cell gets

    .. math:: \frac{D(x) - D(x \text{ with the window hidden})}{\text{cells of the window}}

    of the window in which it lies, or the mean over its pixels. Windows and fills are new for every image, so a model
    cannot have been taught them one by one.

    Args:
        score: what is asked.
        images: ``(N, channels, *size)``
        grid: the number of cells along each dimension of the size.
        generator: of all that is random; on the CPU.
        whole: the score of the images as they are, (N,).
        others: the images of which parts hide windows, ``(M, channels, *size)``.
        fills: of which every window draws one, ``"mean"``, ``"blur"`` or ``"other"``, a part of one of the
            others.

    Returns:
        ``(N, *grid)``

    Source: occlusion is M. Zeiler, R. Fergus, arXiv:1311.2901; the tilings are ours.
    """
    size = images.shape[2:]
    cells_per_pixel = math.prod(grid) / math.prod(size)
    found = []
    for some in torch.split(torch.arange(len(images)), _IMAGES):
        cut = [_tiling(size, generator) for _ in some]
        hidden = [
            _hidden(images[index], window, others, fills, generator)
            for index, windows in zip(some.tolist(), cut, strict=True)
            for window in windows
        ]
        numbers = some.repeat_interleave(torch.tensor([len(windows) for windows in cut]))
        scores = score(torch.stack(hidden), numbers)
        # A class that is certain, or ruled out, has no finite log-odds, and tells nothing here.
        drops = iter((whole[numbers] - scores).float().nan_to_num(0, 0, 0))
        for windows in cut:
            density = torch.zeros(size)
            for window in windows:
                density[window] = next(drops) / (density[window].numel() * cells_per_pixel)
            found.append(interpolate(density[None, None], tuple(grid), mode="area")[0, 0])
    return torch.stack(found)


def _hidden(
    image: Tensor, window: tuple[slice, ...], others: Tensor, fills: Sequence[str], generator: torch.Generator
) -> Tensor:
    """The image with a window hidden behind one of the fills."""
    hidden = image.clone()
    filling = _filling(fills[_draw(len(fills), generator)], image, others, generator)
    hidden[(slice(None), *window)] = filling[(slice(None), *window)]
    return hidden


def _filling(fill: str, image: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
    dimensions = image.ndim - 1
    if fill == "mean":
        return image.flatten(1).mean(dim=1).reshape(-1, *[1] * dimensions).expand_as(image)
    if fill == "blur":
        coarse = interpolate(image[None].float(), tuple(min(_COARSE, n) for n in image.shape[1:]), mode="area")
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[dimensions]
        return interpolate(coarse, image.shape[1:], mode=mode)[0].to(image)
    other = others[_draw(len(others), generator)]
    turned = [dim for dim in range(1, image.ndim) if _draw(2, generator)]
    moved = [_draw(n, generator) for n in image.shape[1:]]
    return other.flip(turned).roll(moved, tuple(range(1, image.ndim))).to(image)


def _parts(dimensions: int) -> tuple[int, ...]:
    return _PARTS.get(dimensions, (2,) * dimensions)


def _tiling(size: Sequence[int], generator: torch.Generator) -> list[tuple[slice, ...]]:
    """Windows that cover the size without overlap."""
    parts = _parts(len(size))
    order = torch.randperm(len(parts), generator=generator).tolist()
    windows: list[tuple[slice, ...]] = [()]
    for length, part in zip(size, (parts[i] for i in order), strict=True):
        shares = 0.5 + torch.rand(min(part, length), generator=generator)
        ends = [0, *(shares.cumsum(0) / shares.sum() * length).round().int().tolist()]
        lines = [slice(a, b) for a, b in pairwise(ends) if a < b]
        windows = [(*window, line) for window in windows for line in lines]
    return windows


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator).item())
