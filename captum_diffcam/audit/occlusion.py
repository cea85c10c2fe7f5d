"""Occlusion maps with random windows and random fills, which a model cannot be trained on in advance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import interpolate

FILLS = ("mean", "blur", "other")
"""What hides a window: the mean colour of the image, a blurred copy of the image, or part of another image."""

Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``(images, indices) -> scores``. Takes B occluded images and the index of the original of each. Returns (B,)."""

_WINDOWS = {1: (6,), 2: (2, 3)}
"""The number of windows along each dimension, for one and two dimensions; two along each for more dimensions."""
_CHUNK = 8
"""Images that are occluded at a time."""
_BLURRED_SIDE = 4
"""A blurred image is reduced to this many pixels along each dimension and enlarged again."""


def random_window_occlusion(
    score: Score,
    images: Tensor,
    grid: Sequence[int],
    generator: torch.Generator,
    *,
    clean_scores: Tensor,
    other_images: Tensor,
    fills: Sequence[str] = FILLS,
) -> Tensor:
    r"""Return an occlusion map of each image: how much the score falls when a part of the image is hidden.

    Each image is divided into windows of random sizes: two along one dimension and three along the other, none shorter
    than a third of another. Each window is hidden once, behind a random fill. A pixel gets

    .. math:: \frac{D(x) - D(x \text{ with the window hidden})}{\text{cells in the window}}

    of its window, and a cell the mean over its pixels. Every image has its own windows and fills.

    Args:
        score: the function to explain.
        images: ``(N, channels, *size)``.
        grid: the number of cells along each dimension of ``size``.
        generator: of windows and fills, on the CPU.
        clean_scores: the scores of the unoccluded images, (N,).
        other_images: the images for the fill ``"other"``, ``(M, channels, *size)``.
        fills: one or more of ``"mean"``, ``"blur"`` and ``"other"``. ``"other"`` flips a random image along random
            dimensions and shifts it circularly by random distances.

    Returns:
        ``(N, *grid)``, in units of the score. A window whose score is not finite counts as no fall.

    Source: occlusion is from M. Zeiler, R. Fergus, arXiv:1311.2901; the random windows are ours.
    """
    size = images.shape[2:]
    cells_per_pixel = math.prod(grid) / math.prod(size)
    maps = []
    for indices in torch.split(torch.arange(len(images)), _CHUNK):
        windows = [_random_windows(size, generator) for _ in indices]
        occluded = [
            _occlude(images[index], window, other_images, fills, generator)
            for index, its_windows in zip(indices.tolist(), windows, strict=True)
            for window in its_windows
        ]
        originals = indices.repeat_interleave(torch.tensor([len(its_windows) for its_windows in windows]))
        falls = clean_scores[originals] - score(torch.stack(occluded), originals)
        # The log-odds are infinite where the model is certain or rules a class out.
        remaining = iter(falls.float().nan_to_num(0, 0, 0))
        for its_windows in windows:
            per_cell = torch.zeros(size)
            for window in its_windows:
                per_cell[window] = next(remaining) / (per_cell[window].numel() * cells_per_pixel)
            maps.append(interpolate(per_cell[None, None], tuple(grid), mode="area")[0, 0])
    return torch.stack(maps)


def _random_windows(size: Sequence[int], generator: torch.Generator) -> list[tuple[slice, ...]]:
    """Return windows that cover the size without overlap."""
    counts = _WINDOWS.get(len(size), (2,) * len(size))
    order = torch.randperm(len(counts), generator=generator).tolist()
    windows: list[tuple[slice, ...]] = [()]
    for length, count in zip(size, (counts[i] for i in order), strict=True):
        shares = 0.5 + torch.rand(min(count, length), generator=generator)
        ends = [0, *(shares.cumsum(0) / shares.sum() * length).round().int().tolist()]
        intervals = [slice(start, end) for start, end in pairwise(ends) if start < end]
        windows = [(*window, interval) for window in windows for interval in intervals]
    return windows


def _occlude(
    image: Tensor, window: tuple[slice, ...], other_images: Tensor, fills: Sequence[str], generator: torch.Generator
) -> Tensor:
    """Return the image with a window hidden behind a random one of the fills."""
    fill = _fill(fills[_draw(len(fills), generator)], image, other_images, generator)
    occluded = image.clone()
    occluded[(slice(None), *window)] = fill[(slice(None), *window)]
    return occluded


def _fill(name: str, image: Tensor, other_images: Tensor, generator: torch.Generator) -> Tensor:
    """Return what shows where the image is hidden. Shape: as the image."""
    dimensions = image.ndim - 1
    if name == "mean":
        return image.flatten(1).mean(dim=1).reshape(-1, *[1] * dimensions).expand_as(image)
    if name == "blur":
        reduced = interpolate(image[None].float(), tuple(min(_BLURRED_SIDE, n) for n in image.shape[1:]), mode="area")
        mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[dimensions]
        return interpolate(reduced, image.shape[1:], mode=mode)[0].to(image)
    other = other_images[_draw(len(other_images), generator)]
    flipped = [dim for dim in range(1, image.ndim) if _draw(2, generator)]
    distances = [_draw(length, generator) for length in image.shape[1:]]
    return other.flip(flipped).roll(distances, tuple(range(1, image.ndim))).to(image)


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator).item())
