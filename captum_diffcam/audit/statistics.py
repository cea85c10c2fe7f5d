"""The measures of the audit: what maps and falls of the log-odds say about each other, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from scipy.special import stdtr
from torch import Tensor

from captum_diffcam.audit.occlusion import Occlusions, paint

MAX_SHIFT = 2
"""The largest shift of images and maps, in cells."""
_CONSTANT = 1e-5
"""Below this share of its largest value, a map's variation is rounding."""
_MIN_RELIABILITY = 0.01
"""A lower reliability is replaced by this one where it is divided by."""
_MIN_COMMON_CELLS = 4
_GROUPS = 40
"""The most parts of the images that the jackknife leaves out in turn."""


class Estimate(NamedTuple):
    """A mean over images with its standard error. NaN: it was not measured.

    Example:
        >>> from captum_diffcam.audit.statistics import Estimate
        >>> estimate = Estimate(0.5, 0.1, 31)
        >>> estimate.p_above(0.2) < 0.01 < estimate.p_below(0.2)
        True
    """

    value: float
    error: float
    degrees: int
    """Degrees of freedom of the error."""

    def p_above(self, limit: float) -> float:
        """Return the one-sided p-value of "the true value is above the limit", approximately: by Student's t."""
        difference = self.value - limit
        if self.error == 0:  # the same value for every image
            return 0.5 if difference == 0 else float(difference < 0)
        return float(stdtr(self.degrees, -difference / self.error))

    def p_below(self, limit: float) -> float:
        """Return the one-sided p-value of "the true value is below the limit", approximately: by Student's t."""
        return 1 - self.p_above(limit)


_UNKNOWN = Estimate(math.nan, math.nan, 0)


class Measurements(NamedTuple):
    """What was measured of N images for one method, on the CPU."""

    maps: Tensor
    """``(N, *grid)``."""
    shifted_maps: Tensor | None
    """The maps of the shifted images, ``(N, *grid)``; None if there are none."""
    shifts: Sequence[tuple[int, ...]]
    """The shift of each image, in cells."""
    occlusions: Occlusions
    """What was hidden, and how far the log-odds fell."""

    def take(self, indices: Sequence[int]) -> Measurements:
        """Return those of some images."""
        return Measurements(
            self.maps[indices],
            None if self.shifted_maps is None else self.shifted_maps[indices],
            [self.shifts[index] for index in indices],
            Occlusions(*(tensor[indices] for tensor in self.occlusions)),
        )


class Measures(NamedTuple):
    """How a method's maps relate to what predictions depend on: means over images, with jackknife errors."""

    agreement: Estimate
    """Correlation of maps with occlusion maps, corrected for the noise of the occlusion maps."""
    prediction: Estimate
    """Correlation of the falls that the map predicts with those that were measured, corrected for noise and for the
    size of the windows; see :func:`~captum_diffcam.audit.statistics.corrected_prediction`."""
    slope: Estimate
    """Measured falls over predicted falls, in nats per nat: 1 for a map in nats that is right."""
    excess: Estimate
    """What maps of different images have in common and predictions do not depend on; see
    :func:`~captum_diffcam.audit.statistics.shared_parts`."""
    deficit: Estimate
    """What predictions on different images depend on in common and maps do not show; see
    :func:`~captum_diffcam.audit.statistics.shared_parts`."""
    gains: dict[tuple[int, ...], Estimate]
    """How much higher the prediction is if the map is shifted by so many cells."""
    equivariance: Estimate
    """How much better maps of shifted images agree with the shifted map than with the unshifted one, from -2 to 2."""
    reliability: Estimate
    """Correlation of two occlusion maps of the same image."""
    agreement_of_images: Tensor
    """The agreement of each image, (N,)."""

    @property
    def estimates(self) -> dict[str, Estimate]:
        """The measures by name."""
        names = ("agreement", "prediction", "slope", "excess", "deficit", "registration", "equivariance", "reliability")
        return {name: getattr(self, name) for name in names}

    @property
    def best_shift(self) -> tuple[int, ...] | None:
        """The shift with the largest gain; None if the grid is too small to shift by a cell."""
        return max(self.gains, key=lambda shift: self.gains[shift].value, default=None)

    @property
    def registration(self) -> Estimate:
        """The gain of the best shift."""
        return _UNKNOWN if self.best_shift is None else self.gains[self.best_shift]


def measure(data: Measurements) -> Measures:
    """Return the measures of N images for one method, at least three.

    Returns:
        Measures: with a standard error from the jackknife, which leaves out up to 40 parts of the images in turn.
    """
    units = unit_maps(data.maps)
    tilings = data.occlusions.maps()
    halves = [unit_maps(tilings[:, half::2].mean(dim=1)) for half in (0, 1)]
    predicted = window_means(data.maps, data.occlusions.covers)
    painted = paint(predicted, data.occlusions.covers)
    seen = [unit_maps(painted[:, half::2].mean(dim=1)) for half in (0, 1)]
    # A map through the windows of one half, against the falls of the other.
    crossed = ((seen[0] * halves[1]).sum(dim=1) + (seen[1] * halves[0]).sum(dim=1)) / 2
    reliabilities = (halves[0] * halves[1]).sum(dim=1)
    of_maps = (seen[0] * seen[1]).sum(dim=1)
    both = unit_maps(halves[0] + halves[1])
    agreeing = (units * both).sum(dim=1)
    similarity = (units @ units.T, both @ units.T, both @ both.T)
    shifts = _shifts(data.maps.shape[1:])
    gains = _gains(data, shifts)
    areas = data.occlusions.covers.flatten(3).sum(dim=3)
    falls, squares = (predicted * data.occlusions.falls * areas).sum((1, 2)), ((predicted * areas) ** 2).sum((1, 2))
    moves = torch.full_like(agreeing, math.nan)
    if data.shifted_maps is not None:
        moves = equivariance(data.shifted_maps, data.maps, data.shifts)

    def estimates(kept: Tensor) -> Tensor:
        def mean(values: Tensor) -> Tensor:
            return kept @ values.double() / kept.sum(dim=1)

        reliability = mean(reliabilities)
        return torch.stack(
            [
                mean(agreeing) / attenuation(reliability),
                corrected_prediction(mean(crossed), reliability, mean(of_maps)),
                mean(falls) / mean(squares).clamp(min=1e-30),
                *shared_parts(*similarity, reliability, kept),
                mean(moves),
                reliability,
                *(mean(gain) for gain in gains),
            ],
            dim=1,
        )

    agreement, prediction, slope, excess, deficit, moving, reliability, *of_shifts = jackknife(
        estimates, len(data.maps)
    )
    return Measures(
        agreement,
        prediction,
        slope,
        excess,
        deficit,
        dict(zip(shifts, of_shifts, strict=True)),
        moving if data.shifted_maps is not None else _UNKNOWN,
        reliability,
        agreeing / attenuation(reliabilities.mean()),
    )


def class_agreement(of_images: Tensor) -> Estimate:
    """Return the mean agreement of the images of one class, with the standard error of the mean."""
    count = len(of_images)
    return Estimate(of_images.mean().item(), of_images.std().item() / math.sqrt(count), count - 1)


def jackknife(statistics: Callable[[Tensor], Tensor], count: int) -> list[Estimate]:
    """Return statistics of ``count`` images with standard errors, leaving out up to 40 parts of the images in turn.

    ``statistics`` takes rows of zeros and ones, which say what images to keep, (G, N), and returns (G, S).

    Source: M. Quenouille, 1949; J. Tukey, 1958.
    """
    groups = min(count, _GROUPS)
    left_out = torch.arange(count) % groups == torch.arange(groups)[:, None]
    values, *without = statistics(torch.cat([torch.ones(1, count), (~left_out).float()]).double())
    errors = ((groups - 1) * torch.stack(without).var(dim=0, correction=0)).sqrt()
    return [Estimate(*pair, groups - 1) for pair in zip(values.tolist(), errors.tolist(), strict=True)]


def hochberg(p_values: Sequence[float]) -> list[float]:
    r"""Return p-values that are corrected for their number.

    With the p-values in rising order, these are :math:`\min_{j \ge i} (m - j + 1) \, p_{(j)}`. The probability of any
    error is below the level if the tests are independent or depend on each other positively, as those of different
    methods on the same images do.

    Source: Y. Hochberg, Biometrika 75, 1988.

    Example:
        >>> from captum_diffcam.audit.statistics import hochberg
        >>> hochberg([0.01, 0.04, 0.03])
        [0.03, 0.04, 0.04]
    """
    corrected = [1.0] * len(p_values)
    smallest = 1.0
    for number, index in enumerate(sorted(range(len(p_values)), key=lambda i: -p_values[i]), start=1):
        smallest = min(smallest, number * p_values[index])
        corrected[index] = smallest
    return corrected


def corrected_prediction(crossed: Tensor, occlusions: Tensor, maps: Tensor) -> Tensor:
    r"""Return the correlation of predicted with measured falls, corrected for noise and for the size of the windows.

    Both are seen through windows. With :math:`w` and :math:`w'` the occlusion maps by two halves of the windows, and
    :math:`m` and :math:`m'` the map as the same windows show it, the prediction is

    .. math:: \frac{\langle m, w' \rangle + \langle m', w \rangle}
                   {2 \sqrt{\langle w, w' \rangle \, \langle m, m' \rangle}},

    each product a correlation and a mean over images. It is one for a map that is proportional to the falls, however
    noisy these are (C. Spearman, 1904). The arguments are these means: the numerator, and both products below.
    """
    reliability = occlusions.clamp(min=_MIN_RELIABILITY) * maps.clamp(min=_MIN_RELIABILITY)
    return crossed / reliability.sqrt()


def attenuation(reliability: Tensor) -> Tensor:
    """Return the factor by which noise lowers correlations with the mean of two halves of the occlusion maps.

    It is the root of the reliability of the mean (C. Spearman, W. Brown, 1910). ``reliability`` is the mean correlation
    of the two halves.
    """
    half = reliability.clamp(min=_MIN_RELIABILITY)
    return (2 * half / (1 + half)).sqrt()


def shared_parts(
    maps: Tensor, across: Tensor, occlusions: Tensor, reliability: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Return the excess and the deficit: what maps of different images have in common, and predictions have not.

    Let :math:`m_n` be the maps and :math:`w_n` the occlusion maps, centred and of unit length. Let :math:`r_n` and
    :math:`s_n` be the directions of the sums of all other maps and of all other occlusion maps, and :math:`\rho` the
    reliability of the occlusion maps. Then

    .. math::
        \text{excess} = \langle m_n, r_n \rangle
            - \frac{\langle w_n, r_n \rangle + \langle m_n - m_j, w_n \rangle}{\sqrt\rho}, \qquad
        \text{deficit} = \frac{\langle w_n, s_n \rangle}{\sqrt\rho} - \langle m_n, s_n \rangle,

    as means over images n and over other images j. The excess of a hoax that is the same on every image is near one.
    The deficit is near one if all predictions depend on the same cells and the maps do not show these.

    Args:
        maps: the correlations of maps with maps, (N, N).
        across: those of occlusion maps (rows) with maps, (N, N).
        occlusions: those of occlusion maps with occlusion maps, (N, N).
        reliability: the mean correlation of two halves of the occlusion maps, of the images that are kept, (G,).
        kept: rows of zeros and ones, which say what images to keep, (G, N).

    Returns:
        Both for each row, (G,) and (G,).

    Source: ours.
    """
    count = kept.sum(dim=1)

    def mean(values: Tensor) -> Tensor:
        return (kept * values).sum(dim=1) / count

    def to_others(square: Tensor) -> Tensor:
        return kept @ square.T - square.diagonal()

    def per_length(square: Tensor) -> Tensor:
        """Return one over the length of the sum of all other maps: sum_ij S_ij - 2 sum_j S_nj + S_nn, squared."""
        sums = kept @ square
        length = ((kept * sums).sum(dim=1, keepdim=True) - 2 * sums + square.diagonal()).clamp(min=0).sqrt()
        return torch.where(length > _CONSTANT, 1 / length.where(length > 0, 1), 0)

    of_maps, of_occlusions, corrected = per_length(maps), per_length(occlusions), attenuation(reliability)
    own = mean(across.diagonal()) - mean(to_others(across)) / (count - 1)
    excess = mean(to_others(maps) * of_maps) - (mean(to_others(across) * of_maps) + own) / corrected
    deficit = mean(to_others(occlusions) * of_occlusions) / corrected - mean(to_others(across.T) * of_occlusions)
    return excess, deficit


def window_means(maps: Tensor, covers: Tensor) -> Tensor:
    """Return the mean of a map over the cells of each window. Shapes: ``(N, *grid)``, ``(N, T, K, *grid)``."""
    covers = covers.flatten(3)
    return torch.einsum("ntkc,nc->ntk", covers, maps.flatten(1).to(covers)) / covers.sum(dim=3)


def _gains(data: Measurements, shifts: Sequence[tuple[int, ...]]) -> Tensor:
    """Return how much better each shifted map predicts the falls per cell than the unshifted one, (S, N)."""
    unshifted = (0,) * (data.maps.ndim - 1)
    maps = _shifted(data.maps, [unshifted, *shifts])
    covers = data.occlusions.covers.flatten(3).flatten(1, 2)
    predicted = torch.einsum("nkc,nsc->snk", covers, maps.to(covers)) / covers.sum(dim=2)
    measured = unit_maps(data.occlusions.per_cell())
    correlations = (unit_maps(predicted.flatten(0, 1)).reshape(*predicted.shape) * measured).sum(dim=2)
    return correlations[1:] - correlations[0]


def _shifts(grid: Sequence[int]) -> list[tuple[int, ...]]:
    """Return all shifts by up to two cells and less than half of the grid, without that by none."""
    return [shift for shift in product(*(range(-n, n + 1) for n in largest_shifts(grid))) if any(shift)]


def largest_shifts(grid: Sequence[int]) -> list[int]:
    """Return the largest shift along each dimension: two cells, and less than half of the grid."""
    return [min(MAX_SHIFT, (cells - 1) // 2) for cells in grid]


def _shifted(maps: Tensor, shifts: Sequence[tuple[int, ...]]) -> Tensor:
    """Return the maps with each shift, (N, S, cells). Cells at the border repeat, so every window has a prediction."""
    return maps.flatten(1)[:, _origins(maps.shape[1:], shifts)[0]]


def _origins(grid: Sequence[int], shifts: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Return from which cell each cell of a shifted map comes, and whether that is inside of the grid: both (S, cells).

    Where it is not, the cell is the nearest at the border.
    """
    origins, inside = torch.zeros(len(shifts), 1, dtype=torch.long), torch.ones(len(shifts), 1, dtype=torch.bool)
    for size, by in zip(grid, torch.tensor(shifts).T, strict=True):
        along = torch.arange(size) - by[:, None]
        nearest = along.clamp(0, size - 1)
        origins = (size * origins[:, :, None] + nearest[:, None]).flatten(1)
        inside = (inside[:, :, None] & (along == nearest)[:, None]).flatten(1)
    return origins, inside


def equivariance(shifted_maps: Tensor, maps: Tensor, shifts: Sequence[tuple[int, ...]]) -> Tensor:
    r"""Return whether maps move with their images: from 2 (they do) to -2 (they stay), 0 if neither.

    This is the correlation of a shifted image's map with the shifted map, minus its correlation with the unshifted map,
    over the cells that both maps have. It is 0 if these are fewer than four.

    Args:
        shifted_maps: the maps of the shifted images, ``(N, *positions)``.
        maps: the maps of the images, ``(N, *positions)``.
        shifts: the shift of each image, in whole cells.

    Returns:
        (N,)

    Example:
        >>> import torch
        >>> from captum_diffcam.audit.statistics import equivariance
        >>> maps = torch.rand(1, 7, 7)
        >>> bool(equivariance(maps.roll((1, 2), (1, 2)), maps, [(1, 2)]) > 0.5)
        True
        >>> bool(equivariance(maps, maps, [(1, 2)]) < 0)
        True
    """
    origins, common = _origins(maps.shape[1:], shifts)
    moved = maps.flatten(1).gather(1, origins)
    observed, there, here = (unit_maps(its, common) for its in (shifted_maps, moved, maps))
    enough = common.sum(dim=1) >= _MIN_COMMON_CELLS
    return (observed * (there - here)).sum(dim=1) * enough


def unit_maps(maps: Tensor, common: Tensor | None = None) -> Tensor:
    """Return flat, centred maps of unit length, so that products are correlations; zero where a map is constant.

    Shapes: ``(N, *positions)`` -> (N, cells), in float64. If ``common``, (N, cells), says what positions count, the
    others are zero.
    """
    flat = maps.double().flatten(1)
    counts = torch.ones_like(flat) if common is None else common.double()
    flat = flat * counts
    largest = flat.abs().amax(dim=1, keepdim=True)
    scaled = flat / largest.where(largest > 0, 1)
    centred = (scaled - scaled.sum(dim=1, keepdim=True) / counts.sum(dim=1, keepdim=True).clamp(min=1)) * counts
    length = centred.norm(dim=1, keepdim=True)
    return torch.where(length > _CONSTANT, centred / length.where(length > 0, 1), 0)
