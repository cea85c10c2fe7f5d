"""Images moved by cells of a layer, and maps of moved images, split into what moves along and what stays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

Padding: TypeAlias = Literal["reflect", "replicate", "circular"]
"""What comes in at the border. The image mirrored, its last row again, or what went out on the other side."""


def square_of_shifts(reach: int, dimensions: int = 2) -> list[tuple[int, ...]]:
    """All shifts of up to so many cells along each dimension, none of them first.

    Example:
        >>> from captum_diffcam.shifts import square_of_shifts
        >>> len(square_of_shifts(2)), square_of_shifts(1)[:3]
        (25, [(0, 0), (-1, -1), (-1, 0)])
    """
    shifts = list(product(range(-reach, reach + 1), repeat=dimensions))
    return sorted(shifts, key=any)


def check_padding(padding: str) -> None:
    """Raise a ValueError where the padding is none of those that there are."""
    if padding not in get_args(Padding):
        raise ValueError(f"padding: got {padding!r}; allowed are {', '.join(map(repr, get_args(Padding)))}")


def shift_images(images: Tensor, shift: Sequence[float], grid: Sequence[int], padding: Padding = "reflect") -> Tensor:
    """Images moved by cells of a grid, in whole pixels; the border is filled in from the image itself.

    Args:
        images: ``(N, channels, *size)``, or anything else whose last dimensions are the size.
        shift: by how many cells along each dimension; positive is down and to the right. Parts of cells are allowed.
        grid: how many cells lie along each dimension of the size, such as the positions of a layer.
        padding: ``"reflect"``, ``"replicate"`` or ``"circular"``.

    Returns:
        The images, of the same shape. Cell ``p`` shows what was at ``p - shift``.

    Raises:
        ValueError: the argument is named with what was given and what is allowed.

    Example:
        >>> import torch
        >>> from captum_diffcam.shifts import shift_images
        >>> row = torch.arange(8.0).reshape(1, 1, 1, 8)
        >>> shift_images(row, (0, 1), (1, 4)).flatten()
        tensor([2., 1., 0., 1., 2., 3., 4., 5.])
    """
    check_padding(padding)
    pixels = shift_in_pixels(shift, grid, images.shape[-len(grid) :])
    for dimension, by in enumerate(pixels, start=images.ndim - len(grid)):
        if by:
            places = _source(images.shape[dimension], by, padding).to(images.device)
            images = images.index_select(dimension, places)
    return images


def shift_in_pixels(shift: Sequence[float], grid: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    """By how many whole pixels a shift in cells moves an image of that size. Raises as :func:`shift_images`."""
    if not 0 < len(shift) == len(grid) == len(size):
        raise ValueError(
            f"shift: got {tuple(shift)} for a grid of {tuple(grid)}; allowed is a number for each dimension"
        )
    pixels = tuple(round(by * length / cells) for by, cells, length in zip(shift, grid, size, strict=True))
    if any(abs(by) >= length for by, length in zip(pixels, size, strict=True)):
        raise ValueError(f"shift: got {tuple(shift)}, which moves the image out of sight; allowed is less than {grid}")
    return pixels


def shift_in_cells(shift: Sequence[float], grid: Sequence[int], size: Sequence[int]) -> tuple[float, ...]:
    """By how many cells an image of that size is moved, since it moves in whole pixels only."""
    pixels = shift_in_pixels(shift, grid, size)
    return tuple(by * cells / length for by, cells, length in zip(pixels, grid, size, strict=True))


def _source(length: int, by: int, padding: Padding) -> Tensor:
    """Where each pixel of a moved line comes from."""
    places = torch.arange(length) - by
    if padding == "circular":
        return places % length
    if padding == "replicate":
        return places.clamp(0, length - 1)
    last = length - 1
    return last - (last - places.abs()).abs()


def split_shifted_maps(maps: Tensor, shifts: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor]:
    r"""Maps of shifted images as the sum of a part that moved along and a part that stayed, by least squares.

    .. math:: \min_{m, f} \sum_s \sum_p \bigl( M_s(p) - m(p - s) - f(p) \bigr)^2

    The sum is over the cells :math:`p` whose origin :math:`p - s` lies within the image; between cells :math:`m` is
    linear. One number is open, since what is added to all of :math:`m` can be taken from all of :math:`f`: the fixed
    part is taken to have a mean of zero. The normal equations are solved as they are, with as many unknowns as the map
    has positions.

    Args:
        maps: ``(S, N, *positions)``, a map of each of N images under each of S shifts.
        shifts: S shifts in cells, along each dimension of the positions.

    Returns:
        The moving and the fixed part, each ``(N, *positions)``. Differentiable in the maps.

    Raises:
        ValueError: the shifts leave more open than one number, as shifts by two cells only do: even and odd cells then
            never meet.

    Example:
        >>> import torch
        >>> from captum_diffcam.shifts import split_shifted_maps, square_of_shifts
        >>> moving, fixed = torch.eye(7), torch.zeros(7, 7)
        >>> fixed[0] = 1.0
        >>> maps = torch.stack([moving.roll(shift, (0, 1)) + fixed for shift in [(0, 0), (0, 1), (1, 0)]])
        >>> moved, stayed = split_shifted_maps(maps[:, None], [(0, 0), (0, 1), (1, 0)])
        >>> torch.allclose(stayed[0], fixed - fixed.mean(), atol=1e-5)
        True
    """
    positions = maps.shape[2:]
    cells = positions.numel()
    flat = maps.flatten(2).double()
    moved_normal = torch.zeros(cells, cells, dtype=torch.float64, device=maps.device)
    mixed = torch.zeros_like(moved_normal)
    seen = torch.zeros(cells, dtype=torch.float64, device=maps.device)
    moved_side, fixed_side = torch.zeros_like(flat[0]), torch.zeros_like(flat[0])
    for of_shift, shift in zip(flat, shifts, strict=True):
        origins = _origins(positions, shift).to(maps.device)
        within = origins.sum(dim=1)
        moved_normal = moved_normal + origins.T @ origins
        mixed = mixed + origins.T
        seen = seen + within
        moved_side = moved_side + of_shift @ origins
        fixed_side = fixed_side + of_shift * within
    per_fixed = 1 / seen.clamp(min=1)
    # The fixed part eliminated; the constant, which nothing fixes, is pinned by a row of ones.
    normal = moved_normal - (mixed * per_fixed) @ mixed.T + 1 / cells
    factor, failed = torch.linalg.cholesky_ex(normal)
    if failed.item() or factor.diagonal().min() < _SINGULAR:
        raise ValueError(
            f"shifts: got {[tuple(shift) for shift in shifts]}, which do not tell what moves from what stays; "
            "allowed are shifts that lead from each cell to each other one, such as by one along each dimension"
        )
    moved = torch.cholesky_solve((moved_side - (fixed_side * per_fixed) @ mixed.T).T, factor).T
    fixed = (fixed_side - moved @ mixed) * per_fixed
    level = fixed.mean(dim=1, keepdim=True)
    return (
        (moved + level).to(maps.dtype).reshape(-1, *positions),
        (fixed - level).to(maps.dtype).reshape(-1, *positions),
    )


_SINGULAR = 1e-5


def _origins(positions: Sequence[int], shift: Sequence[float]) -> Tensor:
    """Where in the map each cell of the shifted one comes from: rows of weights, zero where it is beyond the border.

    Shape: (cells, cells).
    """
    return reduce(torch.kron, (_line(n, by) for n, by in zip(positions, shift, strict=True)))


def _line(length: int, by: float) -> Tensor:
    places = torch.arange(length, dtype=torch.float64)
    source = places[:, None] - by
    # Linear between the two nearest.
    weights = (1 - (source - places).abs()).clamp(min=0)
    within = (source >= -_ROUNDING) & (source <= length - 1 + _ROUNDING)
    return weights * within


_ROUNDING = 1e-6
