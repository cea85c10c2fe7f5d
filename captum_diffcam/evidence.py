"""How much of a score lies in a region of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_diffcam._checks import as_tensor
from captum_diffcam.logits import at_least_float32
from captum_diffcam.results import Explanation, RivalMaps


def evidence_in(
    maps: Explanation | RivalMaps | Tensor,
    masks: Any = None,
    *,
    boxes: Any = None,
    image_size: Sequence[float] | None = None,
) -> Tensor:
    r"""Return how much of each map lies in regions of the image: in nats, for maps that sum to the score.

    The grid of a map is taken to cover the whole image evenly. A position counts by the share of its area that lies in
    the region, so the values of regions that partition the image sum to the sum of the map. Use it with
    :class:`~captum_diffcam.LayerDiffHiResCam`: behind pooling or flattening and a linear layer,
    ``explanation.remainder`` and the evidence of such regions sum to the score. How much the score falls when a region
    is hidden is another question, which these numbers answer on average only.

    Args:
        maps: what ``explain`` or ``attribute_rivals`` return, or maps (N, 1, \*positions). Channels (N, channels,
            \*positions) are summed.
        masks: regions as masks of the image, boolean or from 0 to 1, of any resolution. One mask \*size, R masks
            (R, \*size) for every image alike, or R masks for each image, (N, R, \*size).
        boxes: regions as boxes in pixels instead of masks: one box (x0, y0, x1, y1), R boxes (R, 4) for every image
            alike, or (N, R, 4). Pixel i of a row spans from i to i + 1, so (0, 0, width, height) is the whole image.
            What lies outside of the image does not count. For maps with one dimension a box is (x0, x1), with three
            (x0, y0, z0, x1, y1, z1), where x is always the last dimension.
        image_size: the size of the image in pixels as in ``images.shape[2:]``, that is (height, width). For boxes only.

    Returns:
        (N, R), in float32 or better. (N, K, R) for K rivals.

    Raises:
        TypeError, ValueError: an argument is not as described. R regions without a dimension for N = R images are
            refused, because they may be meant as one for each: write ``masks[None]`` for the same regions in every
            image, ``masks[:, None]`` for a region for each.

    Example:
        >>> import torch
        >>> from captum_diffcam import evidence_in
        >>> maps = torch.tensor([[[[1.0, 2.0], [3.0, -4.0]]]])
        >>> left, middle = (0, 0, 112, 224), (56, 0, 168, 112)
        >>> evidence_in(maps, boxes=[left, middle], image_size=(224, 224))
        tensor([[4.0000, 1.5000]])
    """
    values, rivals = _summed_over_channels(maps)
    examples, grid = values.shape[0], values.shape[2 if rivals else 1 :]
    if (masks is None) == (boxes is None):
        got = "neither" if masks is None else "both"
        raise ValueError(f"`masks` or `boxes` must be given, and not both, got {got}.")
    if boxes is None:
        shares = _shares_of_masks(_numbers("masks", masks, values), grid)
    else:
        shares = _shares_of_boxes(_numbers("boxes", boxes, values), _as_size(image_size, len(grid)), grid)
    argument = "masks" if boxes is None else "boxes"
    if shares.ndim == len(grid):
        shares = shares[None]
    if shares.ndim == len(grid) + 1:
        if len(shares) == examples > 1:
            raise ValueError(
                f"`{argument}` must say whether {examples} regions for {examples} images are the same regions in every "
                f"image, {argument}[None], or a region for each image, {argument}[:, None]; got a tensor without such "
                "a dimension."
            )
        shares = shares[None]
    if len(shares) not in (1, examples):
        raise ValueError(
            f"`{argument}` must have regions for each of {examples} images or for all alike, got {len(shares)}."
        )
    shares = shares.flatten(2).expand(examples, -1, -1)
    if rivals:
        return torch.einsum("nkp,nrp->nkr", values.flatten(2), shares)
    return torch.einsum("np,nrp->nr", values.flatten(1), shares)


def _summed_over_channels(maps: Any) -> tuple[Tensor, bool]:
    """Return maps (N, *positions), or (N, K, *positions) of K rivals, and whether they are of rivals."""
    rivals = isinstance(maps, RivalMaps)
    tensor = maps.maps if isinstance(maps, (Explanation, RivalMaps)) else maps
    if not isinstance(tensor, Tensor):
        raise TypeError(
            "`maps` must be a tensor, or what `explain` or `attribute_rivals` return for one layer, got "
            f"{type(tensor).__name__}. Of several layers or tensors, pass the maps of one."
        )
    if tensor.ndim < 3 + rivals:
        raise ValueError(f"`maps` must have shape (N, 1, *positions), got {tuple(tensor.shape)}.")
    return at_least_float32(tensor).sum(dim=1 + rivals), rivals


def _numbers(argument: str, value: Any, like: Tensor) -> Tensor:
    """Return numbers as a tensor in the precision and on the device of the maps."""
    try:
        if isinstance(value, (list, tuple)) and value and all(hasattr(item, "dtype") for item in value):
            value = torch.stack([as_tensor(argument, item) for item in value])
        tensor = as_tensor(argument, value) if hasattr(value, "dtype") else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"`{argument}` must hold numbers, got {type(value).__name__}: {error}") from error
    if tensor.is_complex():
        raise TypeError(f"`{argument}` must hold real numbers, got {tensor.dtype}.")
    return tensor.to(like)


def _shares_of_masks(masks: Tensor, grid: torch.Size) -> Tensor:
    """Return which share of each position lies in each mask. Shape: (..., *size) -> (..., *positions)."""
    dims = len(grid)
    if not dims <= masks.ndim <= dims + 2 or not masks.shape[-dims:].numel():
        raise ValueError(
            f"`masks` must have shape *size, (R, *size) or (N, R, *size) with the {dims} dimensions of the image, got "
            f"{tuple(masks.shape)}."
        )
    if masks.numel() and not (masks.min() >= 0 and masks.max() <= 1):
        raise ValueError(
            f"`masks` must be boolean or from 0 to 1, got values from {masks.min():g} to {masks.max():g}. Write "
            "masks > 0, or a mask for each label."
        )
    for dim, (pixels, positions) in enumerate(zip(masks.shape[-dims:], grid, strict=True), start=masks.ndim - dims):
        edges = torch.arange(pixels + 1, dtype=masks.dtype, device=masks.device) / pixels
        covered = share_of_cells(edges[:-1], edges[1:], positions)
        masks = torch.tensordot(masks, covered, dims=([dim], [0])).movedim(-1, dim)
    return masks


def _shares_of_boxes(boxes: Tensor, image_size: Sequence[float], grid: torch.Size) -> Tensor:
    """Return which share of each position lies in each box. Shape: (..., 2 * dims) -> (..., *positions)."""
    dims = len(grid)
    if not 1 <= boxes.ndim <= 3 or boxes.shape[-1] != 2 * dims:
        raise ValueError(
            f"`boxes` must have shape ({2 * dims},), (R, {2 * dims}) or (N, R, {2 * dims}), the lower edges of each "
            f"dimension and then the upper ones, got {tuple(boxes.shape)}."
        )
    lower, upper = boxes[..., :dims].flip(-1), boxes[..., dims:].flip(-1)
    if not (boxes.isfinite().all() and (lower < upper).all()):
        raise ValueError(
            "`boxes` must be finite with x0 < x1 and y0 < y1, got a box for which this is not so. A box of x, y, width "
            "and height is (x, y, x + width, y + height)."
        )
    shares = boxes.new_ones(())
    for dim, (pixels, positions) in enumerate(zip(image_size, grid, strict=True)):
        covered = share_of_cells(lower[..., dim] / pixels, upper[..., dim] / pixels, positions)
        shares = shares[..., None] * covered.reshape(*covered.shape[:-1], *[1] * dim, positions)
    return shares


def share_of_cells(start: Tensor, end: Tensor, positions: int) -> Tensor:
    """Return the share of each of a side's positions from ``start`` to ``end``, which are shares of the side.

    Shape: (...) -> (..., positions).
    """
    edges = torch.arange(positions + 1, dtype=start.dtype, device=start.device)
    lower, upper = (bound[..., None] * positions for bound in (start, end))
    return (torch.minimum(upper, edges[1:]) - torch.maximum(lower, edges[:-1])).clamp(min=0)


def _as_size(image_size: Any, dims: int) -> Sequence[float]:
    """Return the size of the image after checking it."""
    if image_size is None:
        raise ValueError("`image_size` must be given with `boxes`, for example images.shape[2:], got None.")
    try:
        size = tuple(float(side) for side in image_size)
    except TypeError as error:
        raise TypeError(f"`image_size` must be a sequence of numbers, got {image_size!r}.") from error
    if len(size) != dims or not all(0 < side < float("inf") for side in size):
        raise ValueError(f"`image_size` must be {dims} numbers > 0, got {image_size!r}.")
    return size
