"""What the maps of one method say for and against it: two measures of them, and a p-value for each conclusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from captum_diffcam.audit.statistics import Excess, excess, mean_and_error, moves_along, permutation_p, t_tail

MOST_EXCESS = 0.3
"""Of an honest map. Midway between the highest of an honest model and the lowest that is to be found of a forged one,
among models that no published figure was made with: glyphs and Fashion-MNIST of seed 100, EfficientNet-Lite2."""

_FEWEST = 3
_SURE = 2.0
"""So many standard errors above zero is the reliability of a witness that can be relied on."""
_UNKNOWN = Excess(*[math.nan] * 8)


class Evidence(NamedTuple):
    """Of one method. A p-value is small where the conclusion after which it is named was shown.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit.evidence import evaluate_method
        >>> maps, generator = torch.rand(12, 7, 7), torch.Generator().manual_seed(0)
        >>> moved = maps.roll((1, 2), (1, 2))
        >>> honest = evaluate_method(maps, moved, maps.expand(2, -1, -1, -1), [(1, 2)] * 12, generator)
        >>> honest.p_moves < 0.01 < honest.p_stays, honest.p_own < 0.01, honest.p_moderate < 0.01
        (True, True, True)
    """

    excess: Excess
    """Of the map over what the decision depends on; see :func:`~captum_diffcam.audit.statistics.excess`."""
    moves: float
    """How much more a map moves along with its image than it stays, from -2 to 2."""
    moves_error: float
    images: int
    p_excessive: float
    """The excess is above what honest maps have."""
    p_stays: float
    """The map stays where it is more than it moves along."""
    p_moderate: float
    """The excess is below what honest maps have at most."""
    p_moves: float
    """The map moves along more than it stays."""
    p_own: float
    """The map knows its own image, that is, it agrees better with that witness than with those of other images."""

    @property
    def witnessed(self) -> bool:
        """Whether the witness agrees with itself, so that there is something to hold a map against."""
        return self.excess.reliability > _SURE * self.excess.reliability_error


def evaluate_method(
    maps: Tensor, moved: Tensor, witnesses: Tensor, shifts: Sequence[tuple[int, ...]], generator: torch.Generator
) -> Evidence:
    """The evidence from N images.

    Args:
        maps: ``(N, *positions)``
        moved: maps of the shifted images, ``(N, *positions)``.
        witnesses: two of each image, ``(2, N, *positions)``.
        shifts: by which whole cells each image was shifted.
        generator: of the permutations.
    """
    count, nothing = len(maps), math.nan
    if count < _FEWEST or not maps.isfinite().all() or not moved.isfinite().all():
        return Evidence(_UNKNOWN, nothing, nothing, count, *[nothing] * 5)
    above = excess(maps, witnesses)
    moves, moves_error = mean_and_error(moves_along(moved, maps, shifts))
    follows = _standardised(moves, moves_error)
    found = Evidence(above, moves, moves_error, count, nothing, t_tail(-follows, count - 1), nothing, nothing, nothing)
    found = found._replace(p_moves=t_tail(follows, count - 1))
    if not found.witnessed:
        return found
    exceeds = _standardised(above.value - MOST_EXCESS, above.value_error)
    return found._replace(
        p_excessive=t_tail(exceeds, count - 1),
        p_moderate=t_tail(-exceeds, count - 1),
        p_own=permutation_p(maps, witnesses, generator),
    )


def images_that_would_do(evidence: Evidence, level: float, accuse: bool) -> float:
    """How many images the conclusion would take if they were like these; infinite where it is not to be had.

    Args:
        evidence: of the images that there are.
        level: what the p-value has to come below.
        accuse: whether the conclusion is that the map lies, or that it does not.
    """
    to_limit = evidence.excess.value - MOST_EXCESS, evidence.excess.value_error
    moves, own = (evidence.moves, evidence.moves_error), (evidence.excess.own, evidence.excess.own_error)
    if accuse:
        return min(_enough(*to_limit, evidence.images, level), _enough(-moves[0], moves[1], evidence.images, level))
    needed = [
        _enough(value, error, evidence.images, level) for value, error in ((-to_limit[0], to_limit[1]), moves, own)
    ]
    return max(needed)


def _enough(value: float, error: float, images: int, level: float) -> float:
    """Images at which a value so far above zero is shown to be above it; its error falls with their root."""
    if math.isnan(value) or value <= 0:
        return math.inf
    low, high = 0.0, 40.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, max(images - 1, 1)) > level else (low, middle)
    return images * (high * error / value) ** 2


def _standardised(value: float, error: float) -> float:
    """In standard errors. Without any error a value is certain."""
    if error > 0:
        return value / error
    return math.copysign(math.inf, value) if value else 0.0
