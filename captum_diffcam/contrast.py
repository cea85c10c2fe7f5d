"""Contrast sets: the classes that a target is explained against, as boolean membership of (examples, classes)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, TypeAlias, Union

import numpy as np
import torch
from torch import Tensor

from captum_diffcam._checks import as_index, as_tensor

ContrastFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``(logits (N, C), target (N,)) -> boolean mask (N, C)``."""

Contrast: TypeAlias = Union[int, Collection[int], Collection[Collection[int]], Tensor, ContrastFunction, None]
"""Every form that ``contrast`` may take; see :meth:`captum_diffcam.LayerDiffGradCam.attribute`."""

_ALLOWED = (
    "allowed are None, a class, a collection or 1-D integer tensor of classes, a collection of such collections or a "
    "2-D integer tensor (a set per example), a boolean mask of shape (C,) or (N, C), and a callable"
)


@dataclass(frozen=True)
class TopRivals:
    """What :func:`top_rivals` returns."""

    k: int

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """The ``k`` highest-scoring classes beside the target. Shapes: (N, C), (N,) -> boolean (N, C)."""
        # Classes that the model rules out, with a logit of -inf, come last, but before the target itself.
        others = logits.clamp(min=torch.finfo(logits.dtype).min).scatter(1, target[:, None], -torch.inf)
        rivals = others.topk(min(self.k, logits.shape[1] - 1), dim=1).indices
        return torch.zeros_like(logits, dtype=torch.bool).scatter(1, rivals, True)


def top_rivals(k: int) -> TopRivals:
    """The contrast set of the ``k`` classes that score highest beside the target.

    Args:
        k: how many rivals, at least 1. Where there are fewer other classes, all of them are taken.

    Returns:
        ContrastFunction: for the argument ``contrast``; from logits (N, C) and target (N,) to a boolean mask (N, C) of
        ``min(k, C - 1)`` classes per row.

    Raises:
        TypeError: ``k`` is not an integer.
        ValueError: ``k`` is below 1.

    Example:
        >>> import torch
        >>> from captum_diffcam import top_rivals
        >>> top_rivals(2)(torch.tensor([[4.0, 1.0, 3.0, 2.0]]), torch.tensor([0]))
        tensor([[False, False,  True,  True]])
    """
    k = as_index("k", k, "allowed is an integer of at least 1")
    if k < 1:
        raise ValueError(f"k: got {k}; allowed is an integer of at least 1")
    return TopRivals(k)


def contrast_mask(contrast: Contrast, logits: Tensor, target: Tensor) -> Tensor:
    """Who is in each example's contrast set, for one target class per example.

    Sets given per example may be fewer than the examples by a whole factor r: NoiseTunnel and sensitivity_max repeat
    every example r times in place, and the sets follow.

    Shapes: logits (N, C), target (N,) -> boolean (N, C).
    """
    is_target = torch.zeros_like(logits, dtype=torch.bool).scatter(1, target[:, None], True)
    if contrast is None:
        return ~is_target
    if callable(contrast):
        members = _ask(contrast, logits, target)
    else:
        sets, examples = parse_contrast_sets(contrast, logits.shape[1]).to(logits.device), len(logits)
        repeats, rest = divmod(examples, max(len(sets), 1))
        # The repeats of an example share its target; other batches are no repeats.
        mixed = repeats > 1 and len(sets) > 1 and any(bool((same != same[0]).any()) for same in target.chunk(len(sets)))
        if rest or mixed or repeats * len(sets) != examples:
            raise ValueError(f"contrast: got sets for {len(sets)} examples; the batch has {examples}")
        members = sets.repeat_interleave(repeats, dim=0)
    conflicts = (members & is_target).any(dim=1)
    if conflicts.any():
        example = int(conflicts.nonzero()[0])
        raise ValueError(
            f"contrast: the target class {int(target[example])} of example {example} is in its own contrast set; "
            "allowed are classes other than the target"
        )
    return members


def _ask(contrast: ContrastFunction, logits: Tensor, target: Tensor) -> Tensor:
    """The mask that a callable answers with, checked. Shapes: logits (N, C), target (N,) -> boolean (N, C)."""
    if contrast is top_rivals:  # type: ignore[comparison-overlap]
        raise TypeError("contrast: got the function top_rivals; allowed is what it returns, such as top_rivals(5)")
    members = contrast(logits.detach(), target)
    expected = f"allowed is a boolean tensor of shape {tuple(logits.shape)}"
    if not isinstance(members, Tensor) or members.dtype != torch.bool:
        got = members.dtype if isinstance(members, Tensor) else type(members).__name__
        raise TypeError(f"contrast: the callable returned {got}; {expected}")
    if members.shape != logits.shape:
        raise ValueError(f"contrast: the callable returned shape {tuple(members.shape)}; {expected}")
    return members.to(logits.device)


def parse_contrast_sets(contrast: Contrast, classes: int) -> Tensor:
    """Who is in each set, for any form of contrast but a callable; None is every class.

    Shape: boolean (M, C), on the CPU or where a mask was; M = 1 is one set for the whole batch.
    """
    if contrast is None:
        return torch.ones(1, classes, dtype=torch.bool)
    if isinstance(contrast, (Tensor, np.ndarray)) and contrast.dtype in (torch.bool, np.bool_):
        mask = as_tensor("contrast", contrast)
        if mask.ndim not in (1, 2) or mask.shape[-1] != classes:
            shapes = f"({classes},) and (N, {classes})"
            raise ValueError(f"contrast: got a boolean mask of shape {tuple(mask.shape)}; allowed are {shapes}")
        return mask.reshape(-1, classes)
    items = _items(contrast) if _is_collection(contrast) else [contrast]
    if getattr(contrast, "ndim", 1) > 1 and not items:
        return torch.zeros(0, classes, dtype=torch.bool)
    if items and all(map(_is_collection, items)):
        return torch.cat([_members_of(_items(item), classes) for item in items])
    return _members_of(items, classes)


def _is_collection(item: Any) -> bool:
    """Whether the item holds classes, as opposed to being one; 0-dimensional tensors and arrays are classes."""
    return isinstance(item, Collection) and not isinstance(item, (str, bytes, dict)) and getattr(item, "ndim", 1) > 0


def _items(collection: Any) -> list[Any]:
    return collection.tolist() if hasattr(collection, "tolist") else list(collection)


def _members_of(items: list[Any], classes: int) -> Tensor:
    """One set as a row (1, C), from its classes or from a boolean for every class."""
    if items and all(isinstance(item, bool) for item in items):
        if len(items) != classes:
            raise ValueError(f"contrast: got a boolean mask of length {len(items)}; the model has {classes} classes")
        return torch.tensor([items])
    indices = [as_index("contrast", item, _ALLOWED) for item in items]
    for index in indices:
        if not 0 <= index < classes:
            raise IndexError(f"contrast: class {index} is out of range; allowed are 0 to {classes - 1}")
    members = torch.zeros(1, classes, dtype=torch.bool)
    members[0, indices] = True
    return members
