"""Where a layer keeps channels and positions: convolutional, vision transformers, a user's own.

A layout turns a layer's tensor into ``(N, channels, *positions)``. It may reorder and leave out, but not mix: it is
applied to activations and to gradients alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, Union

from torch import Tensor, nn

from captum_diffcam._checks import as_index

Layout: TypeAlias = Union[Literal["vit", "swin"], Callable[[Tensor], Tensor]]
"""``"vit"``, ``"swin"``, or a callable from a layer's tensor to ``(N, channels, *positions)``."""

_MOST_PREFIX_TOKENS = 9
"""A class token, one of distillation or several registers: eight at most in the models that are in use."""

_CHANNELS_LAST = (
    *(nn.LayerNorm, nn.Linear, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder),
    *(nn.Embedding, nn.RNN, nn.LSTM, nn.GRU),
)
"""Modules of torch that keep channels last whatever they are given; some subclasses do not."""


def convolutional(tensor: Tensor) -> Tensor:
    """``(N, channels, *positions)``: as it is."""
    return tensor


def swin(tensor: Tensor) -> Tensor:
    """Channels last, ``(N, *positions, D)``: Swin, MaxViT's attention, ConvNeXt's inner layers, text and audio."""
    return tensor.movedim(-1, 1)


@dataclass(frozen=True)
class VitLayout:
    """What :func:`~captum_diffcam.vit_layout` returns."""

    grid: tuple[int, ...] | None = None

    def __call__(self, tensor: Tensor, size: Sequence[int] = ()) -> Tensor:
        """The tokens on their grid; ``size`` is that of the model's input, from which a grid that is not given follows.

        Shape: (N, T, D) -> (N, D, *grid).
        """
        if tensor.ndim != 3:
            raise ValueError(f"layout: got a tensor of shape {tuple(tensor.shape)}; 'vit' takes tokens (N, T, D)")
        tokens = tensor.shape[1]
        grid = self.grid or _grid_of(tokens, size)
        prefix = tokens - math.prod(grid)
        if prefix < 0:
            raise ValueError(
                f"layout: got {tokens} tokens, fewer than the grid of {_times(grid)} patches has; give the grid's size "
                "with vit_layout(grid=...)"
            )
        return tensor[:, prefix:].transpose(1, 2).reshape(len(tensor), -1, *grid)


def vit_layout(grid: tuple[int, ...] | None = None) -> VitLayout:
    r"""The layout of tokens ``(N, T, D)``, whose last ones are a grid of patches, row by row.

    Class and register tokens, which come first, are left out: they have no position.

    Args:
        grid: height and width in patches; for video or volumes three numbers, for sequences one. None, for images:
            height and width of the model's input divided by the side of a square patch. Sides are tried that divide
            both; the grid is the one that leaves at most 9 tokens for class and registers, fewer than it has patches.
            Where none does, or several do, an error asks for the grid. A model that resizes its input itself, or
            whose patches are no squares, needs it given.

    Returns:
        What the argument ``layout`` takes, a callable from ``(N, T, D)`` to ``(N, D, *grid)``.

    Raises:
        TypeError, ValueError: the grid is not of integers from 1 on. Raised when the layout is applied: the tokens do
            not fit the grid, or do not tell it.

    Example:
        >>> import torch
        >>> from captum_diffcam import vit_layout
        >>> vit_layout(grid=(7, 14))(torch.zeros(2, 1 + 7 * 14, 64)).shape
        torch.Size([2, 64, 7, 14])
    """
    if grid is None:
        return VitLayout()
    must_be = "None or a tuple of integers >= 1, such as (height, width)"
    if not isinstance(grid, (tuple, list)) or not grid:
        raise TypeError(f"`grid` must be {must_be}, got {grid!r}")
    sides = tuple(as_index("grid", side, must_be) for side in grid)
    if min(sides) < 1:
        raise ValueError(f"`grid` must be {must_be}, got {grid!r}")
    return VitLayout(sides)


def _grid_of(tokens: int, size: Sequence[int]) -> tuple[int, ...]:
    """The only grid of square patches over an image of that size that the tokens can be."""
    give = "give it with vit_layout(grid=(height, width)), or vit_layout(grid=(tokens,)) for a sequence"
    if len(size) != 2:
        got = f"of size {_times(size)}" if size else "without a size"
        raise ValueError(f"layout: got {tokens} tokens of an input {got}, which does not tell their grid; {give}")
    common = math.gcd(*size)
    grids = [(size[0] // side, size[1] // side) for side in range(1, common + 1) if common % side == 0]
    fitting = [grid for grid in grids if 0 <= tokens - math.prod(grid) < min(_MOST_PREFIX_TOKENS + 1, math.prod(grid))]
    if len(fitting) != 1:
        found = " and ".join(map(_times, fitting)) if fitting else "no grid"
        raise ValueError(
            f"layout: got {tokens} tokens of an image of {_times(size)}, which fit {found} of square patches behind "
            f"class and register tokens; {give}"
        )
    return fitting[0]


def _times(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))


def find_layout(layout: Layout | None) -> Callable[..., Tensor]:
    """The callable of a layout by name; None is convolutional."""
    if callable(layout):
        return layout
    presets: dict[Any, Callable[..., Tensor]] = {None: convolutional, "vit": VitLayout(), "swin": swin}
    if not isinstance(layout, (str, type(None))) or layout not in presets:
        raise ValueError(f"layout: got {layout!r}; allowed are None, 'vit', 'swin' and a callable")
    return presets[layout]


def to_positions(
    layout: Callable[..., Tensor], activations: Tensor, gradients: Tensor, *, examples: int, size: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Both as ``(N, channels, *positions)``, after a check that the score depends on what has a position.

    ``examples`` is N, as many as the model returned logits for, and ``size`` that of the model's input.
    """
    placed, placed_gradients = (_place(layout, tensor, size) for tensor in (activations, gradients))
    if not isinstance(placed, Tensor) or placed.ndim < 2 or len(placed) != examples:
        allowed = f"allowed is a tensor ({examples}, channels, *positions)"
        if layout in (convolutional, swin) or isinstance(layout, VitLayout):
            raise ValueError(
                f"layer: has {len(placed)} rows for {examples} example(s), in a tensor of shape "
                f"{tuple(activations.shape)}; {allowed}, which a callable for layout makes of tokens before examples "
                "or of windows apart"
            )
        got = f"shape {tuple(placed.shape)}" if isinstance(placed, Tensor) else type(placed).__name__
        raise ValueError(f"layout: the callable returned {got}; {allowed}")
    if placed_gradients.numel() < gradients.numel() and gradients.any() and not placed_gradients.any():
        raise ValueError(
            "layer: the score does not depend on its positions, only on tokens that have none (as behind the attention "
            "of the last block of a ViT); allowed is an earlier layer, such as the normalisation before that attention"
        )
    return placed, placed_gradients


def _place(layout: Callable[..., Tensor], tensor: Tensor, size: Sequence[int]) -> Tensor:
    return layout(tensor, size) if isinstance(layout, VitLayout) else layout(tensor)


_HINTS = {
    "vit": "layout='vit' takes them so",
    "grid": "layout=vit_layout(grid=...) takes them so",
    "swin": "layout='swin' takes them so",
    "callable": "a callable for layout brings them to (N, channels, *positions)",
}


def doubt_about_layout(layer: nn.Module, tensor: Tensor, given: Tensor) -> str | None:
    """Why a layer's tensor, taken as a convolution's, seems to keep its channels elsewhere."""
    likely = likely_layout(layer, tensor, given)
    if likely is None:
        return None
    return f"layer: {tuple(tensor.shape)} looks like tokens, whose channels come last; {_HINTS[likely]}"


def likely_layout(layer: nn.Module, tensor: Tensor, given: Tensor) -> Literal["vit", "swin", "grid", "callable"] | None:
    """Where a layer's tensor seems to keep its channels; None is convolutional.

    ``given`` is the model's input: an image or a volume ``(N, channels, *size)``, a series ``(N, channels, length)``,
    or ids or samples ``(N, length)``. ``"grid"`` are tokens whose grid has to be told, ``"callable"`` is none of these.
    """
    if tensor.ndim < 3:
        return None
    size, positions, inner = given.shape[2:], tensor.shape[2:], tensor.shape[1:-1]
    alike = tensor.ndim == given.ndim >= 4
    if given.ndim >= 4 and tensor.ndim == 3:
        return "vit" if len(size) == 2 else "grid"
    if type(layer) in _CHANNELS_LAST:
        return "swin"
    if alike and _same_aspect(positions, size):
        return None
    if alike and _same_aspect(inner, size):
        return "swin"
    if alike and not all(map(_is_strided, positions, size)):
        return "callable"
    if tensor.ndim == 3 and given.ndim in (2, 3) and tensor.shape[1] == given.shape[-1] < tensor.shape[2]:
        # A sequence that keeps its length; a convolution has no more positions than its input.
        return "swin"
    if tensor.ndim == 3 and given.ndim in (2, 3) and _normalises_last(layer, *tensor.shape[1:]):
        return "swin"
    return None


def _normalises_last(layer: nn.Module, tokens: int, channels: int) -> bool:
    """Whether a normalisation within the layer has as many channels as the last dimension, and not as the other one."""
    norms = (module for module in layer.modules() if type(module).__name__.endswith(("LayerNorm", "RMSNorm")))
    return tokens != channels and any(
        getattr(norm, "weight", None) is not None and norm.weight.shape == (channels,) for norm in norms
    )


def _same_aspect(positions: Sequence[int], size: Sequence[int]) -> bool:
    """Whether height and width shrank alike; time, before them, may shrink by another factor."""
    (h, w), (height, width) = positions[-2:], size[-2:]
    return abs(w - h * width / height) <= 1 or abs(h - w * height / width) <= 1


def _is_strided(positions: int, size: int) -> bool:
    """Whether a convolution of some stride leaves so many positions, but for a border without padding."""
    expected = size / max(round(size / positions), 1)
    return expected - 2 - 0.1 * expected <= positions <= expected + 1
