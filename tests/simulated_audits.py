"""Simulated audits: maps and falls whose relation is known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from captum_diffcam.audit.occlusion import Occlusions
from captum_diffcam.audit.statistics import Measurements

GRID = (7, 7)


def random_maps(count: int, generator: torch.Generator) -> Tensor:
    """Smooth random maps, (N, 7, 7)."""
    noise = torch.randn(count, 1, *GRID, generator=generator)
    return 3 * conv2d(pad(noise, (1, 1, 1, 1), mode="replicate"), torch.full((1, 1, 3, 3), 1 / 9))[:, 0]


def tilings(count: int, generator: torch.Generator, number: int = 4) -> Tensor:
    """Random tilings of two by three windows of whole cells, (N, T, 6, 7, 7)."""
    covers = torch.zeros(count, number, 6, *GRID)
    for image in range(count):
        for tiling in range(number):
            half = int(torch.randint(2, 6, (1,), generator=generator))
            first, second = sorted((torch.randperm(6, generator=generator)[:2] + 1).tolist())
            bands = [slice(0, first), slice(first, second), slice(second, 7)]
            sides = [slice(0, half), slice(half, 7)]
            flip = bool(torch.randint(2, (1,), generator=generator))
            for window, (side, band) in enumerate((a, b) for a in sides for b in bands):
                covers[(image, tiling, window, *((band, side) if flip else (side, band)))] = 1
    return covers


def measurements(truth: Tensor, maps: Tensor, seed: int, *, noise: float = 1.0, static: bool = False) -> Measurements:
    """What an audit measures if hiding cells lowers the log-odds by the values of ``truth``, and noise."""
    generator = torch.Generator().manual_seed(seed)
    covers = tilings(len(truth), generator)
    falls = torch.einsum("ntkc,nc->ntk", covers.flatten(3), truth.flatten(1))
    areas = covers.flatten(3).sum(dim=3)
    falls = falls + noise * areas.sqrt() * torch.randn(falls.shape, generator=generator)
    shifts = [(1, 2), (-2, 1), (2, -2), (0, 2)] * len(truth)
    shifted = maps.clone()
    if not static:
        pairs = zip(maps, shifts, strict=False)
        shifted = torch.stack([single.roll(shift, (0, 1)) for single, shift in pairs])
    shifted = shifted + 0.5 * torch.randn(maps.shape, generator=generator)
    return Measurements(maps, shifted, shifts[: len(truth)], Occlusions(covers, falls))
