"""Hoax maps: the maps that an attacker wants to be shown, with the entropy of a clean map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Literal, TypeAlias, Union

import torch
from torch import Tensor

from captum_diffcam._checks import warn_user
from captum_diffcam.metrics import cam_entropy

Shape: TypeAlias = Union[Literal["border", "centre", "corner", "checkerboard"], Tensor]
"""The name of a shape, or a map of your own."""

_ENTROPY_TOLERANCE = 0.05


def hoax_map(size: Sequence[int], entropy: float | None = None, shape: Shape = "border") -> Tensor:
    r"""Return a map that highlights as many cells, evenly, as give it the requested entropy.

    :math:`m` cells have entropy :math:`\log m`. The map has the :math:`m` whose logarithm is closest to ``entropy``.
    Clean 7 x 7 maps have a :func:`~captum_diffcam.metrics.cam_entropy` of about 3.3 nats, which is 28 cells.

    Args:
        size: the positions of the layer, such as (7, 7).
        entropy: in nats, at least 0. Required for a named shape. Must be None for a map of your own.
        shape: the order in which cells are highlighted.

            - ``"border"``: from the border inwards, ring by ring, corners first
            - ``"centre"``: from the centre outwards
            - ``"corner"``: from the first position on
            - ``"checkerboard"``: every other position, then the rest, from the centre outwards
            - a tensor ``(*size)``: a map of your own, which is divided by its sum

    Returns:
        ``(*size)``, with a sum of 1. Its entropy is ``cam_entropy(hoax[None])``.

    Raises:
        ValueError: ``size``, ``entropy`` or ``shape`` is none of the above.

    Warns:
        UserWarning: the closest possible entropy differs from the requested one by more than 0.05 nats.

    Source: the border is from J. Heo, S. Joo, T. Moon, arXiv:1902.02041; matching the entropy is from J. Piland,
    C. Sweet, A. Czajka, arXiv:2506.08514. The order of the cells and the other shapes are ours.

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
        raise ValueError(f"`size` must be a positive integer for each dimension, such as (7, 7), got {size!r}.")
    size = tuple(size)
    if isinstance(shape, Tensor):
        return _custom_hoax(shape, size, entropy)
    if shape not in _ORDERS:
        raise ValueError(f"`shape` must be one of {', '.join(map(repr, _ORDERS))} or a tensor, got {shape!r}.")
    cells = math.prod(size)
    if not isinstance(entropy, Real) or not 0 <= float(entropy) < math.inf:
        highest = f"{math.log(cells):.2f}"
        raise ValueError(f"`entropy` must be a number of nats from 0 to {highest} for a named shape, got {entropy!r}.")
    requested = float(entropy)
    count = min(range(1, cells + 1), key=lambda m: abs(math.log(m) - requested))
    if abs(math.log(count) - requested) > _ENTROPY_TOLERANCE:
        warn_user(f"`entropy` is {requested:.2f} nats; the closest possible is {math.log(count):.2f}.")
    hoax = torch.zeros(cells)
    hoax[_ORDERS[shape](_coordinates(size), size).argsort(stable=True)[:count]] = 1 / count
    return hoax.reshape(size)


def hoax_like(maps: Tensor) -> Tensor:
    """Return a border hoax with the mean entropy of the clean maps, rounded to a whole number of cells.

    Args:
        maps: ``(N, *positions)``, clean maps. Those without a positive value are ignored.

    Returns:
        ``(*positions)``, as from :func:`hoax_map`.

    Raises:
        ValueError: no map has a positive value.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks import hoax_like
        >>> clean_maps = torch.zeros(1, 7, 7)
        >>> clean_maps[0, 2:6, 1:5] = 1.0
        >>> int((hoax_like(clean_maps) > 0).sum())
        16
    """
    positive = maps[maps.flatten(1).amax(dim=1) > 0]
    if not len(positive):
        raise ValueError("`maps` must have a positive value in at least one map, got none.")
    # Rounding to whole cells keeps hoax_map from warning about the entropy.
    return hoax_map(maps.shape[1:], math.log(round(cam_entropy(positive).mean().exp().item())))


def _custom_hoax(hoax: Tensor, size: tuple[int, ...], entropy: float | None) -> Tensor:
    if entropy is not None:
        raise ValueError(f"`entropy` must be None if `shape` is a tensor, got {entropy!r}.")
    if tuple(hoax.shape) != size:
        raise ValueError(f"`shape` must be a tensor of shape {size}, got {tuple(hoax.shape)}.")
    hoax = hoax.detach().float()
    if not (hoax.isfinite() & (hoax >= 0)).all() or not hoax.any():
        raise ValueError("`shape` must be finite, not negative and not all zero, got a tensor that is not.")
    return hoax / hoax.sum()


def _coordinates(size: tuple[int, ...]) -> Tensor:
    """Return the position of each cell. Shape: (cells, dimensions)."""
    return torch.cartesian_prod(*map(torch.arange, size)).reshape(-1, len(size)).double()


def _centre_order(coordinates: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the squared distance of each cell from the centre, in units of the half size."""
    half = torch.tensor(size) / 2
    return ((coordinates + 0.5 - half) / half).square().sum(dim=1)


def _border_order(coordinates: Tensor, size: tuple[int, ...]) -> Tensor:
    ring = torch.minimum(coordinates, torch.tensor(size) - 1 - coordinates).amin(dim=1)
    # 100 is more than any two distances within a ring differ by, so rings come one after the other.
    return ring * 100 - _centre_order(coordinates, size)


def _corner_order(coordinates: Tensor, size: tuple[int, ...]) -> Tensor:
    return coordinates.square().sum(dim=1)


def _checkerboard_order(coordinates: Tensor, size: tuple[int, ...]) -> Tensor:
    return coordinates.sum(dim=1) % 2 * 100 + _centre_order(coordinates, size)


_ORDERS = {
    "border": _border_order,
    "centre": _centre_order,
    "corner": _corner_order,
    "checkerboard": _checkerboard_order,
}
"""For each shape, a function that gives each cell a number. Cells with the smallest numbers are highlighted first."""
