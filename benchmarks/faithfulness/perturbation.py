"""What the model says when the pixels that a map names are replaced, and how maps follow the score and the input.

The curves are our own few lines: Quantus, which has pixel flipping, follows one score at a time, removes only, and
cannot share the runs that all methods have in common. A test checks the deletion curve against it.
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
"""Sides of the squares that infidelity removes, as shares of the image's."""


def blurred(images: Tensor) -> Tensor:
    """Where insertion starts, with RISE's own kernel."""
    result: Tensor = gaussian_blur(images, [11, 11], [5.0, 5.0])
    return result


def pixel_ranks(maps: Tensor, seed: int) -> Tensor:
    """Each pixel's place in the order from the highest value to the lowest; ties at random.

    Rectified maps have many ties, which must not be decided by where a pixel lies. Shapes: (N, H, W) -> (N, H, W).
    """
    flat = maps.flatten(1)
    shuffled = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed)).to(maps.device)
    order = shuffled[flat[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    places = torch.arange(flat.shape[1], device=maps.device).expand_as(order)
    return torch.zeros_like(order).scatter(1, order, places).reshape(maps.shape)


def shares(steps: int) -> Tensor:
    """The share of pixels that is replaced after each step, finer at first, where curves fall. Shape: (steps + 1,)."""
    return (torch.arange(steps + 1) / steps) ** 2


def replacement_curves(score: Score, before: Tensor, after: Tensor, ranks: Tensor, steps: int) -> Tensor:
    """Scores while pixels of ``before`` are replaced by those of ``after``, the first ranks first.

    Deletion replaces the image by a blank one, insertion a blurred one by the image: V. Petsiuk et al., "RISE",
    arXiv:1806.07421, section 4.3. The ends are the same for all methods and are run once.

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
    """The area under each curve, by the trapezoidal rule. Shapes: (..., steps + 1, S) -> (..., S)."""
    found: Tensor = torch.trapezoid(curves, shares(curves.shape[-2] - 1).to(curves)[:, None], dim=-2)
    return found


def crossing(curves: Tensor) -> Tensor:
    """The share that is replaced when a curve first falls below zero; 1 where it never does, 0 where it starts there.

    Between two steps a curve is a line. Shapes: (..., steps + 1) -> (...).
    """
    below = curves < 0
    after = below.int().argmax(dim=-1, keepdim=True).clamp(min=1)
    high, low = curves.gather(-1, after - 1), curves.gather(-1, after)
    at = shares(curves.shape[-1] - 1).to(curves)
    place = at[after - 1] + (at[after] - at[after - 1]) * high / (high - low).where(high > low, 1)
    found: Tensor = place.clamp(0, 1).where(below.any(dim=-1, keepdim=True), 1)
    return found.squeeze(-1)


def unexplained(score: Score, images: Tensor, maps: Tensor, blank: Tensor, samples: int, seed: int) -> Tensor:
    """Captum's normalised infidelity for squares that are blanked out, as a share of that of an empty map.

    0: the sum of the map over a square always is what the score loses with it, up to one factor for each image. 1: the
    map foretells nothing. The infidelity itself has the square of the score's unit, so that methods which explain
    different scores could not be compared. ``score`` gives (N,) for images that repeat each given one in place.

    Shapes: images (N, 3, H, W), maps (N, H, W), blank (3, 1, 1) -> (N,).
    """
    attributions = maps[:, None].expand_as(images)

    def measured(attributions: Tensor, normalize: bool) -> Tensor:
        # Anew for every call: all methods see the same squares.
        generator = torch.Generator().manual_seed(seed)

        def blank_out(repeated: Tensor) -> tuple[Tensor, Tensor]:
            removed = _squares(repeated, generator).to(repeated.device)
            return removed.expand_as(repeated).to(repeated.dtype), torch.where(removed, blank, repeated)

        with torch.no_grad():
            found: Tensor = infidelity(
                score, blank_out, images, attributions, n_perturb_samples=samples, normalize=normalize
            )
        return found

    empty = measured(torch.zeros_like(attributions), False)
    # A map of zeros has no factor.
    error = measured(attributions, True).where(maps.abs().amax(dim=(1, 2)) > 0, empty)
    return error / empty


def _squares(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random square for each. Shapes: (N, 3, H, W) -> (N, 1, H, W), boolean."""
    count, _, height, width = images.shape
    low, high = _SQUARES
    share, top, left = torch.rand(3, count, 1, 1, generator=generator)
    side = (low + (high - low) * share) * min(height, width)
    rows, columns = torch.arange(height)[None, :, None] + 0.5, torch.arange(width)[None, None, :] + 0.5
    top, left = top * (height - side), left * (width - side)
    inside = (rows > top) & (rows < top + side) & (columns > left) & (columns < left + side)
    found: Tensor = inside[:, None]
    return found


def sensitivity(explain: Callable[[Tensor], Tensor], images: Tensor, samples: int, seed: int) -> Tensor:
    """Captum's ``sensitivity_max``: the largest change of the map for noise of at most 0.02, relative to the map.

    ``explain`` gives maps for images that repeat each given one in place. Shape: images (N, 3, H, W) -> (N,).
    """
    with torch.random.fork_rng(devices=[]):
        # All methods see the same noise.
        torch.manual_seed(seed)
        largest: Tensor = sensitivity_max(lambda inputs: (explain(inputs[0]),), images, n_perturb_samples=samples)
    return largest
