"""Windows of an image, what hides them, and what share of each position of a map they hide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, Literal, TypeAlias, Union

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_diffcam._checks import as_count, as_tensor
from captum_diffcam.evidence import share_of_cells

Fill: TypeAlias = Union[Literal["blur", "mean"], float, Tensor, Callable[[Tensor], Tensor]]
"""What hides a window: a blurred copy of the image, its mean colour, a number, or a function of the images
``(N, channels, *size)``. Also a tensor that can be broadcast to the images, such as another image or a colour."""

_BLURRED_SIDE = 4
"""A blurred image is reduced to this many pixels along each dimension and enlarged again."""


def grid_windows(dimensions: int, per_side: int = 3, sizes: Sequence[float] = (0.5,)) -> Tensor:
    """Return windows of one or several sizes, evenly spaced from edge to edge.

    Args:
        dimensions: the number of dimensions of the image, 2 for photographs.
        per_side: the number of windows of each size along each dimension.
        sizes: the sides of the windows, as shares of the image's side, above 0 and at most 1.

    Returns:
        ``(len(sizes) * per_side ** dimensions, dimensions, 2)``: for each window and dimension its start and its end,
        as shares of the side.

    Example:
        >>> from captum_diffcam.occlusion import grid_windows
        >>> grid_windows(1, per_side=3, sizes=[0.5])[:, 0]
        tensor([[0.0000, 0.5000],
                [0.2500, 0.7500],
                [0.5000, 1.0000]])
    """
    per_side = as_count("windows", per_side)
    if not isinstance(sizes, (list, tuple)) or not sizes or not all(_is_share(size) for size in sizes):
        raise ValueError(f"`sizes` must be a list of numbers above 0 and at most 1, got {sizes!r}.")
    by_size = []
    for size in sizes:
        starts = torch.linspace(0, 1 - size, per_side) if per_side > 1 else torch.tensor([(1 - size) / 2])
        corners = torch.cartesian_prod(*[starts] * dimensions).reshape(-1, dimensions)
        by_size.append(torch.stack([corners, corners + size], dim=2))
    return torch.cat(by_size)


def _is_share(size: Any) -> bool:
    return isinstance(size, (int, float)) and not isinstance(size, bool) and 0 < size <= 1


def in_pixels(windows: Tensor, size: Sequence[int]) -> Tensor:
    """Return windows in whole pixels, at least one along each dimension. Shapes: (K, dimensions, 2) -> the same."""
    sides = torch.tensor(size)
    starts = (windows[..., 0].cpu() * sides).round().long().minimum(sides - 1)
    ends = (windows[..., 1].cpu() * sides).round().long().maximum(starts + 1)
    return torch.stack([starts, ends], dim=2)


def cover(windows: Tensor, size: Sequence[int], grid: Sequence[int]) -> Tensor:
    """Return what share of each position of a map the windows hide.

    Args:
        windows: in pixels, ``(K, dimensions, 2)``, as :func:`in_pixels` returns them.
        size: the size of the image in pixels.
        grid: the positions of the map along each dimension.

    Returns:
        ``(K, positions)`` in float64, from 0 to 1.

    Example:
        >>> import torch
        >>> from captum_diffcam.occlusion import cover
        >>> cover(torch.tensor([[[0, 6]]]), (8,), (4,))
        tensor([[1., 1., 1., 0.]], dtype=torch.float64)
    """
    by_dimension = [
        share_of_cells(windows[:, i, 0].double() / pixels, windows[:, i, 1].double() / pixels, positions)
        for i, (pixels, positions) in enumerate(zip(size, grid, strict=True))
    ]
    return reduce(lambda done, further: (done[:, :, None] * further[:, None]).flatten(1), by_dimension)


def fill_of(images: Tensor, fill: Fill) -> Tensor:
    """Return what shows where the images are hidden. Shape: images ``(N, channels, *size)`` -> the same."""
    if callable(fill):
        filled = fill(images)
    elif isinstance(fill, str) and fill in ("blur", "mean"):
        if not images.is_floating_point():
            raise ValueError(
                f"`fill` must be a number, a tensor or a function for inputs of {images.dtype}, such as the index of a "
                f"mask token, got {fill!r}."
            )
        filled = _blurred(images) if fill == "blur" else images.mean(dim=tuple(range(2, images.ndim)), keepdim=True)
    elif isinstance(fill, Tensor) or hasattr(fill, "dtype"):
        filled = as_tensor("fill", fill).to(images.device)
    elif isinstance(fill, (int, float)) and not isinstance(fill, bool):
        filled = torch.tensor(fill, device=images.device)
    else:
        raise ValueError(
            f"`fill` must be 'blur', 'mean', a number, a tensor or a function of the images, got {fill!r}."
        )
    try:
        return filled.to(images.dtype).expand_as(images)
    except (RuntimeError, AttributeError) as error:
        got = f"shape {tuple(filled.shape)}" if isinstance(filled, Tensor) else type(filled).__name__
        raise ValueError(
            f"`fill` must fit images of shape {tuple(images.shape)}, got {got}. Give several fills as a list."
        ) from error


def _blurred(images: Tensor) -> Tensor:
    size = images.shape[2:]
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}.get(len(size))
    if mode is None:
        raise ValueError(f"`fill` must not be 'blur' for images with {len(size)} dimensions. Choose 'mean'.")
    reduced = interpolate(images.float(), tuple(min(_BLURRED_SIDE, side) for side in size), mode="area")
    return interpolate(reduced, tuple(size), mode=mode)


def hide(images: Tensor, filled: Tensor, windows: Tensor) -> Tensor:
    """Return each image once with each window hidden; those of one image are neighbours.

    Shapes: images and filled ``(N, channels, *size)``, windows in pixels ``(K, dimensions, 2)`` ->
    ``(N * K, channels, *size)``.
    """
    hidden = images[:, None].repeat(1, len(windows), *[1] * (images.ndim - 1))
    for k, window in enumerate(windows.tolist()):
        where: Any = (..., *(slice(start, end) for start, end in window))
        hidden[:, k][where] = filled[where]
    return hidden.flatten(0, 1)
