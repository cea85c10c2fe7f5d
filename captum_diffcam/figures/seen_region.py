"""Find which region of an image a model's input shows after the preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

Array: TypeAlias = np.ndarray[Any, Any]

_STRAIGHT = 0.05
"""The largest error of the line that is fitted to a preprocessed ramp, as a share of the image's side."""

_REFUSED = (
    "`preprocess` must only resize, crop, pad and normalise images, so that maps can be drawn over the right part of "
    "the original images. It flips, rotates or recolours them. Pass the preprocessed images instead of the original."
)


def seen_region(
    preprocess: Callable[[Any], Any], as_image: Callable[[Array], Any], height: int, width: int
) -> tuple[float, float, float, float]:
    """Return the region of an image of this size that the preprocessing passes on.

    The region is measured, because torchvision, timm and transformers each round in their own way. A black and a white
    image show the normalisation of each pixel, and where there is padding. Ramps whose brightness is the position show
    where each pixel came from.

    Args:
        preprocess: returns a floating-point tensor (C, h, w) or (1, C, h, w) for an image.
        as_image: returns grey levels (H, W) from 0 to 255 as an image that the preprocessing takes.
        height: the height of the image, in pixels.
        width: the width of the image, in pixels.

    Returns:
        Left, top, right and bottom, in pixels of the image. They exceed the image where the preprocessing pads.

    Raises:
        ValueError: The preprocessing does not return such a tensor, or it flips, rotates or recolours the image.
    """

    def run(levels: Array) -> Array:
        out = preprocess(as_image(np.broadcast_to(np.rint(255 * levels).astype(np.uint8), (height, width))))
        if not isinstance(out, Tensor) or not out.is_floating_point() or out.ndim < 3:
            got = f"{out.dtype}, {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(f"`preprocess` must return a floating-point tensor (C, H, W), got {got}.")
        pixels: Array = out.detach().cpu().double().reshape(-1, *out.shape[-2:]).numpy()
        return pixels

    black = run(np.zeros((1, 1)))
    change = run(np.ones((1, 1))) - black
    # The same padding lies around a black and a white image.
    strength = (change**2).sum(axis=0)
    inside = (strength > strength.max() / 4) & (strength > 0)
    if not inside.any():
        raise ValueError(_REFUSED)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))

    def ends(side: int, axis: int, pixels: Array) -> tuple[float, float]:
        """Return where the model's input begins and ends along an axis, in pixels of the image."""
        ramp = (np.arange(side) + 0.5) / side
        brightness = run(ramp[:, None] if axis == 0 else ramp) - black
        share = ((brightness * change).sum(axis=0) / np.where(inside, strength, 1))[rows][:, columns]
        line = share.mean(axis=1 - axis)
        if side == 1 or len(line) == 1:
            return 0.0, float(side)
        # At the border of the image, brightness stays as it is for half a pixel, so the ends of a line are left out.
        margin = (line.max() - line.min()) / 10
        linear = (line > line.min() + margin) & (line < line.max() - margin)
        if linear.sum() < 2:
            linear[:] = True
        slope, offset = np.polyfit(pixels[linear] + 0.5, line[linear], 1)
        fitted = np.expand_dims(offset + slope * (pixels + 0.5), 1 - axis)
        if slope <= 0 or not (np.abs(share - fitted) < max(_STRAIGHT, 1 / side))[inside[rows][:, columns]].all():
            raise ValueError(_REFUSED)
        return float(offset * side), float((offset + slope * inside.shape[axis]) * side)

    (top, bottom), (left, right) = ends(height, 0, rows), ends(width, 1, columns)
    return left, top, right, bottom
