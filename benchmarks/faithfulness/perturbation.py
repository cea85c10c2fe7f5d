"""Insertion and deletion curves, infidelity and sensitivity.

The curves are a few lines here, because Quantus's pixel flipping follows one score at a time, only removes pixels, and
cannot share the runs that all methods have in common. A test compares the deletion curve with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from captum.metrics import infidelity, sensitivity_max
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

Score: TypeAlias = Callable[[Tensor], Tensor]
"""From images (N, 3, H, W) to (N,) or (N, S)."""

_SQUARES = (0.2, 0.5)
"""The range of the sides of the squares that infidelity removes, as shares of the image's."""


def blurred(images: Tensor) -> Tensor:
    """Return blurred images, where insertion starts, with the kernel of RISE."""
    result: Tensor = gaussian_blur(images, [11, 11], [5.0, 5.0])
    return result


def pixel_ranks(maps: Tensor, seed: int) -> Tensor:
    """Return each pixel's rank from the highest value to the lowest, with random order among ties.

    Rectified maps have many ties, which must not be decided by the position of a pixel. Shapes: (N, H, W) -> (N, H, W).
    """
    flat = maps.flatten(1)
    shuffled = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(maps.device)
    order = shuffled[flat[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    ranks = torch.arange(flat.shape[1], device=maps.device).expand_as(order)
    return torch.zeros_like(order).scatter(1, order, ranks).reshape(maps.shape)


def shares(steps: int) -> Tensor:
    """Return the share of replaced pixels after each step, finer at first, where curves fall. Shape: (steps + 1,)."""
    return (torch.arange(steps + 1) / steps) ** 2


def replacement_curves(score: Score, before: Tensor, after: Tensor, ranks: Tensor, steps: int) -> Tensor:
    """Return scores while pixels of ``before`` are replaced by those of ``after``, the first ranks first.

    Deletion replaces the image by a blank one, insertion a blurred one by the image: V. Petsiuk et al., "RISE",
    arXiv:1806.07421, section 4.3. The ends are the same for all methods and run once.

    Shapes: before and after (N, 3, H, W), ranks (M, N, H, W) for M methods -> (M, N, steps + 1, S).
    """
    pixels = ranks.shape[2] * ranks.shape[3]
    with torch.no_grad():
        first, last = (score(images).expand(len(ranks), -1, -1) for images in (before, after))
        between = []
        for share in shares(steps)[1:-1].tolist():
            replaced = ranks < round(pixels * share)
            between.append(torch.stack([score(torch.where(of[:, None], after, before)) for of in replaced]))
        return torch.stack([first, *between, last], dim=2)


def area(curves: Tensor) -> Tensor:
    """Return the area under each curve, by the trapezoidal rule. Shapes: (..., steps + 1, S) -> (..., S)."""
    total: Tensor = torch.trapezoid(curves, shares(curves.shape[-2] - 1).to(curves)[:, None], dim=-2)
    return total


def crossing(curves: Tensor) -> Tensor:
    """Return the replaced share at which a curve first falls below zero; 1 if it never does, 0 if it starts there.

    Between two steps a curve is a straight line. Shapes: (..., steps + 1) -> (...).
    """
    below = curves < 0
    after = below.int().argmax(dim=-1, keepdim=True).clamp(min=1)
    high, low = curves.gather(-1, after - 1), curves.gather(-1, after)
    at = shares(curves.shape[-1] - 1).to(curves)
    place = at[after - 1] + (at[after] - at[after - 1]) * high / (high - low).where(high > low, 1)
    share: Tensor = place.clamp(0, 1).where(below.any(dim=-1, keepdim=True), 1)
    return share.squeeze(-1)


def unexplained(score: Score, images: Tensor, maps: Tensor, blank: Tensor, samples: int, seed: int) -> Tensor:
    """Return Captum's normalised infidelity for blanked squares, divided by that of an empty map.

    0: the sum of the map over a square predicts the loss of the score exactly, up to one factor per image. 1: the map
    predicts nothing. The infidelity itself has the square of the score's unit, so it cannot compare methods that
    explain different scores. ``score`` must return (N,) for images that repeat each original in place.

    Shapes: images (N, 3, H, W), maps (N, H, W), blank (3, 1, 1) -> (N,).
    """
    attributions = maps[:, None].expand_as(images)

    def measured(attributions: Tensor, normalize: bool) -> Tensor:
        # A new generator for every call, so that all methods see the same squares.
        generator = torch.Generator().manual_seed(seed)

        def blank_out(repeated: Tensor) -> tuple[Tensor, Tensor]:
            removed = _squares(repeated, generator).to(repeated.device)
            return removed.expand_as(repeated).to(repeated.dtype), torch.where(removed, blank, repeated)

        with torch.no_grad():
            values: Tensor = infidelity(
                score, blank_out, images, attributions, n_perturb_samples=samples, normalize=normalize
            )
        return values

    empty = measured(torch.zeros_like(attributions), False)
    # A map of zeros cannot be scaled.
    error = measured(attributions, True).where(maps.abs().amax(dim=(1, 2)) > 0, empty)
    return error / empty


def _squares(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random square for each image. Shapes: (N, 3, H, W) -> (N, 1, H, W), boolean."""
    count, _, height, width = images.shape
    low, high = _SQUARES
    share, top, left = torch.rand(3, count, 1, 1, generator=generator)
    side = (low + (high - low) * share) * min(height, width)
    rows, columns = torch.arange(height)[None, :, None] + 0.5, torch.arange(width)[None, None, :] + 0.5
    top, left = top * (height - side), left * (width - side)
    inside = (rows > top) & (rows < top + side) & (columns > left) & (columns < left + side)
    squares: Tensor = inside[:, None]
    return squares


def sensitivity(explain: Callable[[Tensor], Tensor], images: Tensor, samples: int, seed: int) -> Tensor:
    """Return Captum's ``sensitivity_max``: the largest relative change of the map for noise of at most 0.02.

    ``explain`` must return maps for images that repeat each original in place. Shape: images (N, 3, H, W) -> (N,).
    """
    with torch.random.fork_rng(devices=[]):
        # The seed gives all methods the same noise.
        torch.manual_seed(seed)
        largest: Tensor = sensitivity_max(lambda inputs: (explain(inputs[0]),), images, n_perturb_samples=samples)
    return largest
