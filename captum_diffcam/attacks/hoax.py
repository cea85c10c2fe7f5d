"""Hoax maps: what a forged explanation is to look like, at the entropy of an honest one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal, TypeAlias, Union

import torch
from torch import Tensor

from captum_diffcam.metrics import cam_entropy

Shape: TypeAlias = Union[Literal["border", "centre", "corner", "checkerboard"], Tensor]
"""The name of a shape, or a map of one's own."""

_WORTH_A_WORD = 0.05


def hoax_map(size: Sequence[int], entropy: float | None = None, shape: Shape = "border") -> Tensor:
    r"""A map of a plain shape that lights as many cells, evenly, as the entropy asks for.

    :math:`m` cells have entropy :math:`\log m`, so :math:`m` is the number whose logarithm is closest. In honest 7 x 7
    maps :func:`~captum_diffcam.metrics.cam_entropy` finds about 3.3 nats, that is 28 cells.

    Args:
        size: the positions of the layer, such as (7, 7).
        entropy: in nats, at least 0. None only for a map of one's own, whose entropy is what it is.
        shape: ``"border"``: from the border inwards, ring by ring, corners first. ``"centre"``: from the centre
            outwards. ``"corner"``: from the first position on. ``"checkerboard"``: every other position, then the rest,
            from the centre outwards. Or a tensor of that size, which is divided by its sum.

    Returns:
        A map of that size whose sum is one; ``cam_entropy(hoax[None])`` is the entropy that it has.

    Raises:
        TypeError, ValueError: the argument is named with what was given and what is allowed.

    Warns:
        UserWarning: the closest entropy there is differs from the asked one by more than 0.05 nats.

    Source: the border is that of J. Heo, S. Joo, T. Moon, arXiv:1902.02041; its entropy, that of J. Piland, C. Sweet,
    A. Czajka, arXiv:2506.08514. The order of the cells and the other shapes are ours.

    Example:
        >>> from captum_diffcam.attacks import hoax_map
        >>> from captum_diffcam.metrics import cam_entropy
        >>> hoax = hoax_map((7, 7), entropy=3.33)
        >>> int((hoax > 0).sum())
        28
        >>> cam_entropy(hoax[None])
        tensor([3.3322])
    """
    if not isinstance(size, Sequence) or not size or not all(isinstance(n, int) and n > 0 for n in size):
        raise ValueError(f"size: got {size!r}; allowed are positive integers, one for each dimension")
    size = tuple(size)
    if isinstance(shape, Tensor):
        return _normalised(shape, size, entropy)
    if shape not in _ORDERS:
        raise ValueError(f"shape: got {shape!r}; allowed are {', '.join(map(repr, _ORDERS))} and a tensor")
    cells = math.prod(size)
    if entropy is None or not 0 <= entropy < math.inf:
        raise ValueError(f"entropy: got {entropy!r}; allowed is a number of nats from 0 to {math.log(cells):.2f}")
    lit = min(range(1, cells + 1), key=lambda m: abs(math.log(m) - entropy))
    if abs(math.log(lit) - entropy) > _WORTH_A_WORD:
        warnings.warn(f"entropy: {entropy:.2f} nats asked, {math.log(lit):.2f} is the closest", stacklevel=2)
    hoax = torch.zeros(cells)
    hoax[_ORDERS[shape](_coordinates(size), size).argsort(stable=True)[:lit]] = 1 / lit
    return hoax.reshape(size)


def hoax_like(maps: Tensor) -> Tensor:
    """The border of as many cells as gives it the mean entropy of honest maps: what makes an attack entropy-aware.

    Args:
        maps: ``(N, *positions)``, honest ones. Those that light nothing do not count.

    Returns:
        A map of their positions, as of :func:`hoax_map`.

    Raises:
        ValueError: none of the maps lights anything.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks import hoax_like
        >>> honest = torch.zeros(1, 7, 7)
        >>> honest[0, 2:6, 1:5] = 1.0
        >>> int((hoax_like(honest) > 0).sum())
        16
    """
    lit = maps[maps.flatten(1).amax(dim=1) > 0]
    if not len(lit):
        raise ValueError("maps: none of them lights anything; allowed are maps with a positive value")
    # Of a whole number of cells, which is there for certain.
    return hoax_map(maps.shape[1:], math.log(round(cam_entropy(lit).mean().exp().item())))


def _normalised(own: Tensor, size: tuple[int, ...], entropy: float | None) -> Tensor:
    if entropy is not None:
        raise ValueError(f"entropy: got {entropy!r}; allowed with a map of one's own is None")
    if tuple(own.shape) != size:
        raise ValueError(f"shape: got a tensor of shape {tuple(own.shape)}; allowed is {size}")
    hoax = own.detach().float()
    if not (hoax.isfinite() & (hoax >= 0)).all() or not hoax.any():
        raise ValueError("shape: got a tensor with negative or infinite values, or all zero; allowed is a map to light")
    return hoax / hoax.sum()


def _coordinates(size: tuple[int, ...]) -> Tensor:
    """The position of each cell. Shape: (cells, dimensions)."""
    return torch.cartesian_prod(*map(torch.arange, size)).reshape(-1, len(size)).double()


def _from_centre(coordinates: Tensor, size: tuple[int, ...]) -> Tensor:
    """Squared distance of each cell from the centre, in units of the half size."""
    half = torch.tensor(size) / 2
    return ((coordinates + 0.5 - half) / half).square().sum(dim=1)


def _border(coordinates: Tensor, size: tuple[int, ...]) -> Tensor:
    ring = torch.minimum(coordinates, torch.tensor(size) - 1 - coordinates).amin(dim=1)
    # A ring is further apart than any two distances within it.
    return ring * 100 - _from_centre(coordinates, size)


def _corner(coordinates: Tensor, size: tuple[int, ...]) -> Tensor:
    return coordinates.square().sum(dim=1)


def _checkerboard(coordinates: Tensor, size: tuple[int, ...]) -> Tensor:
    return coordinates.sum(dim=1) % 2 * 100 + _from_centre(coordinates, size)


_ORDERS = {"border": _border, "centre": _from_centre, "corner": _corner, "checkerboard": _checkerboard}
"""By shape: the order in which cells are lit, the smallest first."""
