"""Where a layer keeps channels and positions: convolutions, vision transformers, or a user's own layout.

A layout turns a layer's tensor into ``(N, channels, *positions)``. It may reorder and leave out, but not mix, because
it is applied to activations and to gradients alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, Union

from torch import Tensor

from captum_diffcam._checks import as_index
from captum_diffcam.axis_tracker import Axes, Axis

Layout: TypeAlias = Union[Literal["vit", "swin"], Callable[[Tensor], Tensor]]
"""``"vit"``, ``"swin"``, or a callable from a layer's tensor to ``(N, channels, *positions)``."""

_FEW_POSITIONS = 0.05
"""A score that depends on at most this share of the positions, or on one, reads single tokens and not the map."""
_FEW_CHANNELS = 0.25
"""Global maximum pooling, too, reads few positions, but of each a smaller share of the channels than this."""


def convolutional(tensor: Tensor) -> Tensor:
    """Return ``(N, channels, *positions)`` unchanged."""
    return tensor


def swin(tensor: Tensor) -> Tensor:
    """Return ``(N, *positions, D)`` with channels first: Swin, attention of MaxViT, inner layers of ConvNeXt, text."""
    return tensor.movedim(-1, 1)


@dataclass(frozen=True)
class VitLayout:
    """What :func:`~captum_diffcam.vit_layout` returns."""

    grid: tuple[int, ...] | None = None

    def __call__(self, tensor: Tensor, axes: Axes | None = None) -> Tensor:
        """Return the tokens on their grid. Shape: (N, T, D) -> (N, D, *grid).

        ``axes`` is what the run has shown of the tensor's axes; the grid is there if it is not given.
        """
        if tensor.ndim != 3:
            raise ValueError(f"`layout` 'vit' must get tokens of shape (N, T, D), got {tuple(tensor.shape)}.")
        tokens = tensor.shape[1]
        if self.grid is None:
            placement = None if axes is None else find_placement(axes)
            if placement is None or placement.layout is None:
                raise ValueError(
                    f"`layout` must be vit_layout(grid=(height, width)) for this layer, or vit_layout(grid=(tokens,)) "
                    f"for a sequence: the run does not show on which grid its {tokens} tokens are. It shows grids of "
                    "convolutions, pooling and reshapes, as long as the tokens stay in their order and the operations "
                    "are called from Python in one thread."
                )
            before, grid = placement.before, placement.grid
        else:
            before, grid = tokens - math.prod(self.grid), self.grid
            if before < 0:
                raise ValueError(
                    f"`layout` must have a grid of at most {tokens} patches, as many as the layer has tokens, got "
                    f"{times(grid)}."
                )
        patches = tensor[:, before : before + math.prod(grid)]
        return patches.transpose(1, 2).reshape(len(tensor), -1, *grid)


def vit_layout(grid: tuple[int, ...] | None = None) -> VitLayout:
    r"""Return the layout of tokens ``(N, T, D)`` that are a grid of patches, row by row, and a few further tokens.

    Further tokens, such as class and register tokens, are left out, because they have no position.

    Args:
        grid: height and width in patches; for video or volumes three numbers, for sequences one. The patches are then
            the last tokens. None: the grid that the run itself made. Whatever a patch embedding, a pooling or a
            reshape put out in the same forward is followed to the layer's tokens, with the number of tokens before and
            behind them. This holds for any input size, padded or resized images, patches of any shape, and video.

    Returns:
        What the argument ``layout`` takes, a callable from ``(N, T, D)`` to ``(N, D, *grid)``.

    Raises:
        TypeError, ValueError: ``grid`` is not of integers >= 1. When the layout is applied, a ValueError if the tokens
            do not fit the grid, or if the run does not show the grid, as with TorchScript or in the threads of
            DataParallel.

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
        raise TypeError(f"`grid` must be {must_be}, got {grid!r}.")
    sides = tuple(as_index("grid", side, must_be) for side in grid)
    if min(sides) < 1:
        raise ValueError(f"`grid` must be {must_be}, got {grid!r}.")
    return VitLayout(sides)


def find_layout(layout: Any) -> Callable[..., Tensor]:
    """Return the callable of a layout by name; None is convolutional."""
    if callable(layout):
        return layout  # type: ignore[no-any-return]
    presets: dict[Any, Callable[..., Tensor]] = {None: convolutional, "vit": VitLayout(), "swin": swin}
    if not isinstance(layout, (str, type(None))) or layout not in presets:
        raise ValueError(f"`layout` must be None, 'vit', 'swin' or a callable, got {layout!r}.")
    return presets[layout]


def apply_layout(layout: Callable[..., Tensor], tensor: Tensor, axes: Axes | None) -> Tensor:
    """Return a layer's tensor as ``(N, channels, *positions)``; ``axes`` is what the run has shown of its axes."""
    return layout(tensor, axes) if isinstance(layout, VitLayout) else layout(tensor)


class Placement(NamedTuple):
    """Where a tensor keeps channels and positions, as the run has shown."""

    layout: Literal["vit", "swin"] | None
    grid: tuple[int, ...]
    before: int
    """Tokens before those of the grid."""
    inputs: frozenset[int]
    """The inputs of the model to which the positions belong."""


def find_placement(axes: Axes) -> Placement | None:
    """Return the layout that fits a tensor's axes; None if it has no positions or if none fits."""
    if len(axes) < 3 or not axes[0].is_examples:
        return None
    inner = axes[1:]
    if not inner[0].has_positions and all(axis.grid if axis.size > 1 else True for axis in inner[1:]):
        layout: Literal["vit", "swin"] | None = None
        positions: Sequence[Axis] = inner[1:]
        grid = tuple(axis.size for axis in positions)
    elif not inner[-1].has_positions and all(axis.grid for axis in inner[:-1]):
        positions = inner[:-1]
        single = all(len(axis.parts) == 1 and not axis.before + axis.after for axis in positions)
        if not single and len(positions) > 1:
            return None
        layout = "swin" if single else "vit"
        grid = tuple(axis.size for axis in positions) if single else positions[0].grid or ()
    else:
        return None
    sources = [part.source for axis in positions for part in axis.parts if part.size > 1]
    further = layout is None and any(axis.before + axis.after for axis in positions)
    if not sources or further or len(set(sources)) < len(sources):
        return None
    inputs = frozenset(source[0] for source in sources if isinstance(source, tuple))
    return Placement(layout, grid, positions[0].before, inputs)


def to_positions(
    layout: Callable[..., Tensor],
    activations: Tensor,
    gradients: Tensor,
    *,
    examples: int,
    axes: Axes | None,
    notes: list[str],
) -> tuple[Tensor, Tensor]:
    """Return activations and gradients as ``(N, channels, *positions)``.

    Args:
        layout: the layout as a callable.
        activations: a tensor of the layer.
        gradients: the score's gradients, of the same shape.
        examples: N, as many as the model returned logits for.
        axes: what the run has shown of the tensor's axes.
        notes: gets a warning if the score depends on single positions only.

    Raises:
        ValueError: the layout does not fit, there are no positions, or the score does not depend on them.
    """
    preset = layout in (convolutional, swin) or isinstance(layout, VitLayout)
    must_be = f"a tensor ({examples}, channels, *positions)"
    if preset and activations.ndim and len(activations) != examples:
        raise ValueError(
            f"`layer` must have one row for each of {examples} example(s), got a tensor of shape "
            f"{tuple(activations.shape)}. If its tokens come before its examples, or its windows are apart, pass a "
            f"callable as `layout` that returns {must_be}."
        )
    placed, placed_gradients = (apply_layout(layout, tensor, axes) for tensor in (activations, gradients))
    if not isinstance(placed, Tensor) or placed.ndim < 2 or len(placed) != examples:
        got = f"shape {tuple(placed.shape)}" if isinstance(placed, Tensor) else type(placed).__name__
        raise ValueError(f"`layout` must return {must_be}, got {got}.")
    if examples and not placed.numel():
        raise ValueError(
            f"`layer` must have positions and channels, got a tensor of shape {tuple(activations.shape)}. If the "
            "inputs are too small for the model, pass larger ones."
        )
    if placed_gradients.numel() < gradients.numel() and gradients.any() and not placed_gradients.any():
        raise ValueError(
            "`layer` must have positions that the score depends on, but the score depends on its further tokens only, "
            "as behind the attention of the last block of a ViT. Choose an earlier layer, such as the normalization "
            "before that attention; last_spatial_layer finds it."
        )
    if placed_gradients.any() and not reaches_positions(placed_gradients):
        reached = int(_reached(placed_gradients).sum(1).max())
        notes.append(
            f"`layer` has {placed[0, 0].numel()} positions, and the score depends on {reached} of them only, as behind "
            "the attention of the last block of a model that reads one token. The map's other values say nothing. "
            "Choose an earlier layer, such as the normalization before that attention; last_spatial_layer finds it."
        )
    return placed, placed_gradients


def reaches_positions(gradients: Tensor) -> bool:
    """Return whether a score with these gradients (N, channels, *positions) reads more than a few tokens."""
    reached = _reached(gradients)
    positions = reached.shape[1]
    count = reached.sum(1)
    if positions == 1 or (count > max(1, _FEW_POSITIONS * positions)).any():
        return True
    # Without any gradient the share of channels is not a number.
    channels = (gradients != 0).flatten(1).sum(1) / (count * gradients.shape[1])
    return bool(((count > 1) & (channels < _FEW_CHANNELS)).any())


def _reached(gradients: Tensor) -> Tensor:
    """Return at which positions a gradient is not zero: (N, positions)."""
    return (gradients != 0).any(dim=1).reshape(len(gradients), -1)


def have_same_aspect(grid: Sequence[int], size: Sequence[int]) -> bool:
    """Return whether a grid has the proportions of an input, up to one position.

    Only height and width count: time, before them, may have shrunk by another factor. A single dimension has none.
    """
    if len(size) == 1:
        return True
    (h, w), (height, width) = grid[-2:], size[-2:]
    return abs(w * height - h * width) <= max(height, width)


def times(sides: Sequence[int]) -> str:
    """Return sizes as text, such as "7 x 7"."""
    return " x ".join(map(str, sides))
