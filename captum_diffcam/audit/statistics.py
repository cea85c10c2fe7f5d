"""The tests of the audit: what maps and occlusion maps of many images show, with standard errors and p-values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

EXCESS_LIMIT = 0.3
"""The highest excess of a clean map. It is midway between the highest of clean models and the lowest of manipulated
models that should be detected, among models that are not used for any published figure (glyphs and Fashion-MNIST of
seed 100, EfficientNet-Lite2)."""

_CONSTANT = 1e-5
"""Below this share of its largest value, a map's variation is rounding."""
_MIN_RELIABILITY = 0.01
"""A lower reliability is replaced by this one where it is divided by."""
_MIN_RELIABILITY_ERRORS = 2.0
"""Occlusion maps are reliable if their reliability is this many standard errors above zero."""
_MIN_IMAGES = 3
_MIN_COMMON_CELLS = 4
_PERMUTATIONS = 2000


class Excess(NamedTuple):
    """The result of :func:`excess`, with standard errors."""

    value: float
    """``common - shared - own``"""
    common: float
    """How similar a map is to the maps of the other images."""
    shared: float
    """How far the prediction depends on what the maps of the other images show."""
    own: float
    """How much better a map agrees with the occlusion map of its own image than with those of other images."""
    reliability: float
    """Correlation of two occlusion maps of the same image."""
    value_error: float
    own_error: float
    reliability_error: float


class Evidence(NamedTuple):
    """Test results for one attribution method. A small ``p_x`` supports conclusion ``x``. NaN: not tested.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit.statistics import evaluate_method
        >>> maps, generator = torch.rand(12, 7, 7), torch.Generator().manual_seed(0)
        >>> shifted = maps.roll((1, 2), (1, 2))
        >>> evidence = evaluate_method(maps, shifted, maps.expand(2, -1, -1, -1), [(1, 2)] * 12, generator)
        >>> evidence.p_equivariant < 0.01 < evidence.p_static
        True
    """

    excess: Excess
    """The similarity of maps to each other that predictions do not explain; see
    :func:`~captum_diffcam.audit.statistics.excess`."""
    equivariance: float
    """How much better maps of shifted images agree with the shifted map than with the unshifted one, from -2 to 2; see
    :func:`~captum_diffcam.audit.statistics.equivariance`."""
    equivariance_error: float
    """The standard error of the equivariance."""
    images: int
    """The number of images."""
    p_excessive: float
    """The excess is above :data:`~captum_diffcam.audit.EXCESS_LIMIT`."""
    p_static: float
    """The equivariance is below zero: the map stays where it is when the image is shifted."""
    p_not_excessive: float
    """The excess is below :data:`~captum_diffcam.audit.EXCESS_LIMIT`."""
    p_equivariant: float
    """The equivariance is above zero: the map moves with the image."""
    p_own_image: float
    """The map agrees better with the occlusion map of its own image than with those of other images."""

    @property
    def occlusion_is_reliable(self) -> bool:
        """Whether two occlusion maps of the same image agree, so that maps can be compared with them."""
        return self.excess.reliability > _MIN_RELIABILITY_ERRORS * self.excess.reliability_error


def evaluate_method(
    maps: Tensor,
    shifted_maps: Tensor,
    occlusion_maps: Tensor,
    shifts: Sequence[tuple[int, ...]],
    generator: torch.Generator,
) -> Evidence:
    """Return the evidence from N images for one method.

    Args:
        maps: ``(N, *positions)``.
        shifted_maps: the maps of the shifted images, ``(N, *positions)``.
        occlusion_maps: two of each image, ``(2, N, *positions)``.
        shifts: the shift of each image, in cells.
        generator: of the permutations.

    Returns:
        Evidence: with NaN if there are fewer than three images or a map is not finite. Without the tests that need
        occlusion maps if these are not reliable.
    """
    count, nan = len(maps), math.nan
    if count < _MIN_IMAGES or not maps.isfinite().all() or not shifted_maps.isfinite().all():
        return Evidence(Excess(*[nan] * 8), nan, nan, count, *[nan] * 5)
    measured = excess(maps, occlusion_maps)
    moves = equivariance(shifted_maps, maps, shifts)
    mean, error = moves.mean().item(), moves.std().item() / math.sqrt(count)
    evidence = Evidence(
        measured,
        mean,
        error,
        count,
        nan,
        _p_above_zero(-mean, error, count),
        nan,
        _p_above_zero(mean, error, count),
        nan,
    )
    if not evidence.occlusion_is_reliable:
        return evidence
    above_limit = measured.value - EXCESS_LIMIT
    return evidence._replace(
        p_excessive=_p_above_zero(above_limit, measured.value_error, count),
        p_not_excessive=_p_above_zero(-above_limit, measured.value_error, count),
        p_own_image=permutation_p(maps, occlusion_maps, generator),
    )


def _p_above_zero(mean: float, error: float, count: int) -> float:
    """Return the one-sided p-value of Student's t-test that a mean of ``count`` values is above zero."""
    if error == 0:  # the same value for every image
        return 0.5 if mean == 0 else float(mean < 0)
    return float(stats.t.sf(mean / error, count - 1))


def excess(maps: Tensor, occlusion_maps: Tensor) -> Excess:
    r"""Return how similar maps are to each other beyond what predictions have in common.

    Let :math:`m_n` be the maps and :math:`w_n` the occlusion maps, centred and of unit length, :math:`r_n` the
    direction of the sum of all other maps, and :math:`\rho` the reliability, the correlation of two occlusion maps of
    the same image. Then

    .. math::
        \text{common} = \langle m_n, r_n \rangle, \quad
        \text{shared} = \frac{\langle w_n, r_n \rangle}{\sqrt\rho}, \quad
        \text{own} = \frac{\langle m_n, w_n \rangle - \langle m_j, w_n \rangle}{\sqrt\rho},

    as means over images n and over other images j. The excess is common - shared - own. A hoax that is the same on
    every image has an excess near one. A map that shows what predictions depend on has an excess below zero.

    Division by :math:`\sqrt\rho` corrects for the noise of the occlusion maps (attenuation; C. Spearman, 1904).
    Standard errors are those of the jackknife over images.

    Args:
        maps: ``(N, *positions)``, of at least three images.
        occlusion_maps: two of each image with independent errors, ``(2, N, *positions)``.

    Returns:
        Excess

    Source: ours.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit.statistics import excess
        >>> clean_maps, hoax_maps = torch.rand(20, 7, 7), torch.eye(7).expand(20, 7, 7)
        >>> occlusion_maps = clean_maps.expand(2, 20, 7, 7)
        >>> excess(clean_maps, occlusion_maps).value < 0 < 0.7 < excess(hoax_maps, occlusion_maps).value
        True
    """
    units, first, second = unit_maps(maps), unit_maps(occlusion_maps[0]), unit_maps(occlusion_maps[1])
    similarity, agreement = units @ units.T, (first + second) / 2 @ units.T
    reliabilities = (first * second).sum(dim=1)
    estimates = _excess_parts(similarity, agreement, reliabilities)
    n = len(maps)
    without_one = []
    for image in range(n):
        kept = torch.arange(n) != image
        without_one.append(_excess_parts(similarity[kept][:, kept], agreement[kept][:, kept], reliabilities[kept]))
    errors = ((n - 1) * torch.stack(without_one).var(dim=0, correction=0)).sqrt()
    return Excess(*estimates.tolist(), *errors[[0, 3, 4]].tolist())


def _excess_parts(similarity: Tensor, agreement: Tensor, reliabilities: Tensor) -> Tensor:
    """Return the excess, its three parts and the reliability, from correlations. Shape: (5,).

    ``similarity`` has those of maps with maps, ``agreement`` those of occlusion maps (rows) with maps, both (N, N).
    """
    n = len(similarity)
    # The sum of all maps but n has the squared length sum_ij S_ij - 2 sum_j S_nj + S_nn.
    squared_length = similarity.sum() - 2 * similarity.sum(dim=1) + similarity.diagonal()
    length = squared_length.clamp(min=0).sqrt()
    per_length = torch.where(length > _CONSTANT, 1 / length.where(length > 0, 1), 0)
    common = ((similarity.sum(dim=1) - similarity.diagonal()) * per_length).mean()
    shared = ((agreement.sum(dim=1) - agreement.diagonal()) * per_length).mean()
    with_others = (agreement.sum() - agreement.trace()) / (n * (n - 1))
    own = agreement.diagonal().mean() - with_others
    reliability = reliabilities.mean()
    attenuation = reliability.clamp(min=_MIN_RELIABILITY).sqrt()
    shared, own = shared / attenuation, own / attenuation
    return torch.stack([common - shared - own, common, shared, own, reliability])


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
    values = []
    for shifted_map, single_map, shift in zip(shifted_maps, maps, shifts, strict=True):
        lengths = single_map.shape
        here = tuple(slice(max(by, 0), length + min(by, 0)) for by, length in zip(shift, lengths, strict=True))
        origin = tuple(slice(max(-by, 0), length + min(-by, 0)) for by, length in zip(shift, lengths, strict=True))
        observed, moved, stayed = (
            unit_maps(m[None]) for m in (shifted_map[here], single_map[origin], single_map[here])
        )
        enough = observed.numel() >= _MIN_COMMON_CELLS
        values.append((observed * (moved - stayed)).sum() if enough else observed.new_zeros(()))
    return torch.stack(values)


def permutation_p(maps: Tensor, occlusion_maps: Tensor, generator: torch.Generator) -> float:
    """Return the p-value of "maps agree with the occlusion maps of their own images", by permuting the images.

    Ties are broken at random, so the p-value is uniform for maps that do not depend on the image.

    Shapes: maps ``(N, *positions)``, occlusion_maps ``(2, N, *positions)``.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit.statistics import permutation_p
        >>> maps = torch.rand(12, 7, 7)
        >>> permutation_p(maps, maps.expand(2, 12, 7, 7), torch.Generator()) < 0.01
        True
    """
    n = len(maps)
    agreement = (unit_maps(occlusion_maps[0]) + unit_maps(occlusion_maps[1])) @ unit_maps(maps).T
    observed = agreement.trace()
    orders = torch.rand(_PERMUTATIONS, n, generator=generator).argsort(dim=1)
    permuted = agreement[torch.arange(n), orders].sum(dim=1)
    tied = (permuted - observed).abs() <= 1e-9 * n
    above = ((permuted > observed) & ~tied).sum().item()
    random_share = torch.rand(1, generator=generator).item()
    return float((above + random_share * (tied.sum().item() + 1)) / (_PERMUTATIONS + 1))


def unit_maps(maps: Tensor) -> Tensor:
    """Return flat, centred maps of unit length, so that products are correlations; zero where a map is constant.

    Shapes: ``(N, *positions)`` -> (N, cells), in float64.
    """
    flat = maps.double().flatten(1)
    largest = flat.abs().amax(dim=1, keepdim=True)
    scaled = flat / largest.where(largest > 0, 1)
    centred = scaled - scaled.mean(dim=1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    return torch.where(length > _CONSTANT, centred / length.where(length > 0, 1), 0)
