"""Occlusion maps with random windows and random fills, which a model cannot be trained on in advance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise, product
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from captum_diffcam.occlusion import cover, fill_of

FILLS = ("mean", "blur", "other")
"""What hides a window: the mean colour of the image, a blurred copy of the image, or part of another image."""

Score: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``(images, indices) -> scores``. Takes B occluded images and the index of the original of each. Returns (B,)."""

_WINDOWS = {1: (12,), 2: (3, 4)}
"""The number of windows along each dimension, for one and two dimensions; two along each for more dimensions."""
_CHUNK = 8
"""Images that are occluded at a time."""


class Occlusions(NamedTuple):
    """What was hidden of N images, in T tilings of K windows each, and how far the score fell."""

    covers: Tensor
    """The share of each cell that a window hides, ``(N, T, K, *grid)``. Those of one tiling sum to one."""
    falls: Tensor
    """How far the score fell, (N, T, K), in its units."""

    def per_cell(self) -> Tensor:
        """Return the falls per hidden cell, (N, T, K)."""
        return self.falls / self.covers.flatten(3).sum(dim=3)

    def maps(self) -> Tensor:
        """Return the occlusion map of each tiling, ``(N, T, *grid)``, in units of the score for each cell."""
        return paint(self.per_cell(), self.covers)


def paint(values: Tensor, covers: Tensor) -> Tensor:
    """Return maps in which each cell has the values of the windows that hide it, by the shares they hide.

    Shapes: values (N, T, K), covers ``(N, T, K, *grid)`` -> ``(N, T, *grid)``.
    """
    painted = torch.einsum("ntk,ntkc->ntc", values, covers.flatten(3))
    return painted.reshape(*covers.shape[:2], *covers.shape[3:])


def random_window_occlusion(
    score: Score,
    images: Tensor,
    grid: Sequence[int],
    generator: torch.Generator,
    *,
    tilings: int,
    clean_scores: Tensor,
    other_images: Tensor,
    fills: Sequence[str] = FILLS,
) -> Occlusions:
    """Hide random windows of each image behind random fills, and return how far the score falls.

    A tiling divides an image into windows of random sizes: three along one dimension and four along the other, none
    shorter than a third of another. Each window is hidden once. Every image has its own tilings and fills, so nobody
    can train a model on them in advance.

    Args:
        score: the function to explain.
        images: ``(N, channels, *size)``.
        grid: the number of cells along each dimension of ``size``.
        generator: of windows and fills, on the CPU.
        tilings: the number of tilings of each image.
        clean_scores: the scores of the unoccluded images, (N,).
        other_images: the images for the fill ``"other"``, ``(M, channels, *size)``.
        fills: one or more of ``"mean"``, ``"blur"`` and ``"other"``. ``"other"`` is a random image for each tiling,
            flipped along random dimensions and shifted circularly by random distances.

    Returns:
        Occlusions: on the CPU. A window whose score is not finite counts as no fall.

    Source: occlusion is from M. Zeiler, R. Fergus, arXiv:1311.2901; the random windows are ours.
    """
    size = images.shape[2:]
    own_fills: list[Any] = [name for name in fills if name != "other"]
    all_covers, all_falls = [], []
    for indices in torch.split(torch.arange(len(images)), _CHUNK):
        own = torch.stack([fill_of(images[indices], name) for name in own_fills] or [images[indices]], dim=1)
        occluded, windows = [], []
        for image, hiding in zip(images[indices], own[:, : len(own_fills)], strict=True):
            by_tiling = torch.tensor([_random_windows(size, generator) for _ in range(tilings)])
            its_windows = by_tiling.flatten(0, 1)
            drawn = torch.randint(len(fills), by_tiling.shape[:2], generator=generator)
            if "other" in fills:
                others = [_other_image(other_images, generator).to(image) for _ in range(tilings)]
                hiding = torch.cat([hiding, torch.stack(others)])
                drawn += (drawn == len(own_fills)) * torch.arange(tilings)[:, None]
            windows.append(its_windows)
            occluded.append(_occlude(image, hiding[drawn.flatten()], its_windows))
        originals = indices.repeat_interleave(tilings * by_tiling.shape[1])
        falls = clean_scores[originals] - score(torch.cat(occluded), originals)
        # The log-odds are infinite where the model is certain or rules a class out.
        all_falls.append(falls.float().nan_to_num(0, 0, 0).reshape(len(indices), tilings, -1))
        covers = cover(torch.cat(windows), size, grid).float()
        all_covers.append(covers.reshape(len(indices), tilings, -1, *grid))
    return Occlusions(torch.cat(all_covers), torch.cat(all_falls))


def _random_windows(size: Sequence[int], generator: torch.Generator) -> list[tuple[tuple[int, int], ...]]:
    """Return windows that cover the size without overlap: the start and end of each along each dimension, in pixels."""
    counts = _WINDOWS.get(len(size), (2,) * len(size))
    order = torch.randperm(len(counts), generator=generator).tolist()
    by_dimension = []
    for length, count in zip(size, (counts[i] for i in order), strict=True):
        # As many along each dimension of a tiny image, because all tilings have as many.
        count = min(count, *size)
        ends = list(accumulate((0.5 + torch.rand(count, generator=generator)).tolist(), initial=0.0))
        inner = [round(end / ends[-1] * length) for end in ends]
        # Rounding must not close a window.
        inner = [min(max(end, index), length - count + index) for index, end in enumerate(inner)]
        by_dimension.append(list(pairwise(inner)))
    return list(product(*by_dimension))


def _occlude(image: Tensor, hiding: Tensor, windows: Tensor) -> Tensor:
    """Return the image once with each window hidden, by what hides this window.

    Shapes: ``(channels, *size)``, ``(K, channels, *size)``, (K, dimensions, 2) -> ``(K, channels, *size)``.
    """
    size = image.shape[1:]
    hidden = torch.ones(len(windows), 1, *[1] * len(size), dtype=torch.bool)
    for i, pixels in enumerate(size):
        at = torch.arange(pixels)
        inside = (at >= windows[:, i, :1]) & (at < windows[:, i, 1:])
        hidden = hidden & inside.reshape(-1, *[pixels if j == i + 1 else 1 for j in range(image.ndim)])
    return torch.where(hidden, hiding, image)


def _other_image(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random image, flipped along random dimensions and shifted circularly by random distances."""
    image = images[_draw(len(images), generator)]
    dimensions = range(1, image.ndim)
    flipped = [dim for dim in dimensions if _draw(2, generator)]
    distances = [_draw(image.shape[dim], generator) for dim in dimensions]
    return image.flip(flipped).roll(distances, tuple(dimensions))


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator).item())
