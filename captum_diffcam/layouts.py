"""Where a layer keeps channels and positions: convolutional, vision transformers, a user's own.

A layout turns a layer's tensor into ``(N, channels, *positions)``. It may reorder and leave out, but not mix: it is
applied to activations and to gradients alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, Union

from torch import Tensor

Layout: TypeAlias = Union[Literal["vit", "swin"], Callable[[Tensor], Tensor]]
"""``"vit"``, ``"swin"``, or a callable from a layer's tensor to ``(N, channels, *positions)``."""

_MOST_PREFIX_TOKENS = 16


def convolutional(tensor: Tensor) -> Tensor:
    """``(N, channels, *positions)``: as it is."""
    return tensor


def swin(tensor: Tensor) -> Tensor:
    """Channels last, ``(N, *positions, D)``: Swin, MaxViT's attention, ConvNeXt's inner layers."""
    return tensor.movedim(-1, 1)


def vit_layout(grid: tuple[int, int] | None = None) -> Callable[[Tensor], Tensor]:
    """The layout of tokens ``(N, T, D)``, whose last ones are a grid of patches, row by row.

    Class and register tokens, which come first, are left out: they have no position.

    Args:
        grid: height and width in patches. None: the largest square that T has room for.

    Returns:
        A callable for the argument ``layout``, from ``(N, T, D)`` to ``(N, D, height, width)``.

    Raises:
        ValueError: raised by the callable where the tokens do not fit the grid.

    Example:
        >>> import torch
        >>> from captum_diffcam import vit_layout
        >>> vit_layout(grid=(7, 14))(torch.zeros(2, 1 + 7 * 14, 64)).shape
        torch.Size([2, 64, 7, 14])
    """

    def vit(tensor: Tensor) -> Tensor:
        if tensor.ndim != 3:
            raise ValueError(f"layout: got a tensor of shape {tuple(tensor.shape)}; 'vit' takes tokens (N, T, D)")
        tokens = tensor.shape[1]
        height, width = grid or (math.isqrt(tokens),) * 2
        prefix = tokens - height * width
        if prefix < 0 or (grid is None and prefix > _MOST_PREFIX_TOKENS):
            raise ValueError(
                f"layout: got {tokens} tokens, which is no grid of {height} x {width} patches behind class and "
                "register tokens; give its size with vit_layout(grid=(height, width))"
            )
        return tensor[:, prefix:].transpose(1, 2).reshape(len(tensor), -1, height, width)

    return vit


def find_layout(layout: Layout | None) -> Callable[[Tensor], Tensor]:
    """The callable of a layout by name; None is convolutional."""
    if callable(layout):
        return layout
    presets = {None: convolutional, "vit": vit_layout(), "swin": swin}
    if not isinstance(layout, (str, type(None))) or layout not in presets:
        raise ValueError(f"layout: got {layout!r}; allowed are None, 'vit', 'swin' and a callable")
    return presets[layout]


def to_positions(layout: Callable[[Tensor], Tensor], activations: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """Both as ``(N, channels, *positions)``, after a check that the score depends on what has a position."""
    placed, placed_gradients = layout(activations), layout(gradients)
    if not isinstance(placed, Tensor) or placed.ndim < 2 or len(placed) != len(activations):
        got = f"shape {tuple(placed.shape)}" if isinstance(placed, Tensor) else type(placed).__name__
        raise ValueError(
            f"layout: the callable returned {got}; allowed is a tensor ({len(activations)}, channels, *positions)"
        )
    if placed_gradients.numel() < gradients.numel() and gradients.any() and not placed_gradients.any():
        raise ValueError(
            "layer: the score does not depend on its positions, only on tokens that have none (as behind the attention "
            "of the last block of a ViT); allowed is an earlier layer, such as the normalisation before that attention"
        )
    return placed, placed_gradients


def looks_like_tokens(tensor: Tensor, image: Tensor) -> Literal["vit", "swin"] | None:
    """The layout that a layer's tensor seems to have, where the model's input is an image and it is no feature map."""
    if image.ndim < 4:
        return None
    if tensor.ndim == 3:
        return "vit"
    if tensor.ndim == image.ndim and not _same_aspect(tensor.shape[2:], image.shape[2:]):
        return "swin" if _same_aspect(tensor.shape[1:-1], image.shape[2:]) else None
    return None


def _same_aspect(positions: tuple[int, ...], size: tuple[int, ...]) -> bool:
    return all(abs(n - positions[0] * s / size[0]) <= 1 for n, s in zip(positions, size, strict=True))
