"""What maps and witnesses of many images say together, and how sure that is. Tensors alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_CONSTANT = 1e-5
"""Below this share of its largest value a map's variation is rounding."""
_LEAST_RELIABILITY = 0.01


class Excess(NamedTuple):
    """What :func:`excess` found, with standard errors."""

    value: float
    """``common - shared - own``"""
    common: float
    """How far a map is what the maps of the other images are."""
    shared: float
    """How far the decision on an image depends on what the maps of the other images show."""
    own: float
    """How much better a map agrees with the witness of its own image than with those of others."""
    reliability: float
    """Correlation of two witnesses of one image."""
    value_error: float
    own_error: float
    reliability_error: float


def unit_maps(maps: Tensor) -> Tensor:
    """Flat, centred and of unit length, so that products are correlations; zero where a map is constant.

    Shapes: ``(N, *positions)`` -> (N, cells), in float64.
    """
    flat = maps.double().flatten(1)
    largest = flat.abs().amax(dim=1, keepdim=True)
    scaled = flat / largest.where(largest > 0, 1)
    centred = scaled - scaled.mean(dim=1, keepdim=True)
    length = centred.norm(dim=1, keepdim=True)
    return torch.where(length > _CONSTANT, centred / length.where(length > 0, 1), 0)


def excess(maps: Tensor, witnesses: Tensor) -> Excess:
    r"""How much more a map is like the maps of other images than like what its own image's decision depends on.

    With maps :math:`m_n` and witnesses :math:`w_n`, centred and of unit length, :math:`r_n` the direction of the mean
    of all other maps, and :math:`\rho` the reliability of a witness, the correlation of two of the same image,

    .. math::
        \text{common} = \langle m_n, r_n \rangle, \quad
        \text{shared} = \frac{\langle w_n, r_n \rangle}{\sqrt\rho}, \quad
        \text{own} = \frac{\langle m_n, w_n \rangle - \langle m_j, w_n \rangle}{\sqrt\rho},

    means over images n and over other images j. The excess is common - shared - own. Division by :math:`\sqrt\rho`
    corrects for the noise of the witness (attenuation; C. Spearman, 1904), so that few windows do not look like a lie.
    A hoax that is the same on every image has an excess near one. A map that follows the decision has one below zero.
    The standard errors are those of the jackknife over images.

    Args:
        maps: ``(N, *positions)``, at least three.
        witnesses: ``(2, N, *positions)``, two of each image, with errors that have nothing to do with one another.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit.statistics import excess
        >>> truth, hoax = torch.rand(20, 7, 7), torch.eye(7).expand(20, 7, 7)
        >>> witnesses = truth.expand(2, 20, 7, 7)
        >>> excess(truth, witnesses).value < 0 < 0.7 < excess(hoax, witnesses).value
        True
    """
    m, (one, other) = unit_maps(maps), (unit_maps(each) for each in witnesses)
    alike, agreement = m @ m.T, (one + other) / 2 @ m.T
    reliable = (one * other).sum(dim=1)
    everything = _parts(alike, agreement, reliable, without=False)[:, 0]
    each_out = _parts(alike, agreement, reliable, without=True)
    n = len(maps)
    errors = ((n - 1) * each_out.var(dim=1, correction=0)).sqrt()
    return Excess(*everything.tolist(), *errors[[0, 3, 4]].tolist())


def _parts(alike: Tensor, agreement: Tensor, reliable: Tensor, without: bool) -> Tensor:
    """The parts of the excess, over all images or with each of them left out. Shape: (5, 1) or (5, N).

    ``alike`` has the products of maps, ``agreement`` those of witnesses (rows) with maps, both (N, N).
    """
    n = len(alike)
    out = alike if without else torch.zeros(n, 1).to(alike)
    leaves = torch.eye(n).to(alike) if without else torch.zeros(n, 1).to(alike)
    stays = 1 - leaves
    left_row = alike.sum(dim=1) if without else torch.zeros(1).to(alike)
    left_own = alike.diagonal() if without else torch.zeros(1).to(alike)
    row, own = alike.sum(dim=1)[:, None], alike.diagonal()[:, None]
    kept = stays.sum(dim=0)
    # Of image n (rows), with image k left out (columns): the sum of the others, and its length.
    squared = alike.sum() - 2 * row + own - 2 * left_row + left_own + 2 * out
    length = squared.clamp(min=0).sqrt()
    share = torch.where(length > _CONSTANT, 1 / length.where(length > 0, 1), 0) * stays / kept
    common = ((row - own - out) * share).sum(dim=0)
    to_out = agreement if without else out
    shared = ((agreement.sum(dim=1)[:, None] - agreement.diagonal()[:, None] - to_out) * share).sum(dim=0)
    matched = (agreement.diagonal()[:, None] * stays).sum(dim=0)
    pairs = stays.T @ agreement @ stays
    total = pairs.diagonal() if without else pairs[0]
    own_part = matched / kept - (total - matched) / (kept * (kept - 1))
    rho = (reliable[:, None] * stays).sum(dim=0) / kept
    root = rho.clamp(min=_LEAST_RELIABILITY).sqrt()
    shared, own_part = shared / root, own_part / root
    return torch.stack([common - shared - own_part, common, shared, own_part, rho])


def permutation_p(maps: Tensor, witnesses: Tensor, generator: torch.Generator, draws: int = 2000) -> float:
    """How likely maps that know nothing of their own image would agree with its witness as well as these do.

    The witnesses are dealt out anew among the images. Ties are broken at random, so that the p-value of a map that
    knows nothing is uniform, whatever its shape.

    Shapes: maps ``(N, *positions)``, witnesses ``(2, N, *positions)``.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit.statistics import permutation_p
        >>> maps = torch.rand(12, 7, 7)
        >>> permutation_p(maps, maps.expand(2, 12, 7, 7), torch.Generator()) < 0.01
        True
    """
    m = unit_maps(maps)
    agreement = torch.stack([unit_maps(each) for each in witnesses]).sum(dim=0) @ m.T
    n = len(m)
    dealt = torch.rand(draws, n, generator=generator).argsort(dim=1)
    by_chance = agreement[torch.arange(n), dealt].sum(dim=1)
    found = agreement.diagonal().sum()
    close = (by_chance - found).abs() <= 1e-9 * n
    above = ((by_chance > found) & ~close).sum().item()
    return float((above + torch.rand(1, generator=generator).item() * (close.sum().item() + 1)) / (draws + 1))


def moves_along(new: Tensor, old: Tensor, shifts: Sequence[tuple[int, ...]]) -> Tensor:
    r"""Whether maps move along with their image: 2 at most, 0 where that is as far as they stay where they are.

    The correlation of the map of a shifted image with the old map, shifted as well, less that with the old map where it
    was, over the cells that both have. Zero where there are fewer than four of them.

    Shapes: ``(N, *positions)`` twice, N shifts in whole cells -> (N,).

    Example:
        >>> import torch
        >>> from captum_diffcam.audit.statistics import moves_along
        >>> old = torch.rand(1, 7, 7)
        >>> bool(moves_along(old.roll((1, 2), (1, 2)), old, [(1, 2)]) > 0.5), bool(moves_along(old, old, [(1, 2)]) < 0)
        (True, True)
    """
    found = []
    for after, before, shift in zip(new, old, shifts, strict=True):
        to = tuple(slice(max(by, 0), length + min(by, 0)) for by, length in zip(shift, after.shape, strict=True))
        origin = tuple(slice(max(-by, 0), length + min(-by, 0)) for by, length in zip(shift, after.shape, strict=True))
        now, moved, stayed = (unit_maps(each[None]) for each in (after[to], before[origin], before[to]))
        found.append((now * (moved - stayed)).sum() if now.numel() >= 4 else torch.zeros(()).to(now))
    return torch.stack(found)


def t_tail(t: float, degrees: int) -> float:
    """The probability that Student's t with so many degrees of freedom is above ``t``.

    Example:
        >>> from captum_diffcam.audit.statistics import t_tail
        >>> round(t_tail(2.0, 10), 4), t_tail(0.0, 5)
        (0.0367, 0.5)
    """
    if math.isnan(t) or degrees < 1:
        return math.nan
    if t < 0:
        return 1 - t_tail(-t, degrees)
    # With t = sqrt(degrees) tan(angle) the density is a power of the cosine.
    start = math.atan2(t, math.sqrt(degrees)) if math.isfinite(t) else math.pi / 2

    def mass(low: float) -> float:
        angles = torch.linspace(low, math.pi / 2, 4097, dtype=torch.float64)
        return torch.trapezoid(angles.cos().clamp(min=0) ** (degrees - 1), angles).item()

    return mass(start) / (2 * mass(0.0))


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of independent values and its standard error."""
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()
