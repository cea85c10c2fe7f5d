"""Contrast sets: the classes that a target is explained against."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, Union

import numpy as np
import torch
from torch import Tensor

from captum_diffcam._checks import as_class, as_count, as_tensor

ContrastFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""``(logits (N, C), target (N,)) -> boolean mask (N, C)``."""

Contrast: TypeAlias = Union[int, Collection[int], Collection[Collection[int]], Tensor, ContrastFunction, None]
"""Every form that ``contrast`` may take; see :meth:`captum_diffcam.LayerDiffGradCam.attribute`."""

_FORMS = (
    "None, a class index, a collection or 1-D tensor of class indices (one set for the batch), a collection of such "
    "collections or a 2-D tensor (one set per example), a boolean mask of shape (C,) or (N, C), or a callable"
)


@dataclass(frozen=True)
class TopRivals:
    """Select the ``k`` highest-scoring classes besides the target; made by :func:`top_rivals`."""

    k: int

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the contrast mask of each example. Shapes: (N, C), (N,) -> boolean (N, C)."""
        # Classes that the model rules out, with a logit of -inf, come after all others but before the target itself.
        others = logits.clamp(min=torch.finfo(logits.dtype).min).scatter(1, target[:, None], -torch.inf)
        rivals = others.topk(min(self.k, logits.shape[1] - 1), dim=1).indices
        return torch.zeros_like(logits, dtype=torch.bool).scatter(1, rivals, True)


def top_rivals(k: int) -> TopRivals:
    """Return the contrast of the ``k`` classes that score highest besides the target.

    Args:
        k: the number of rivals, an integer >= 1. If there are fewer other classes, all of them are taken.

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
    return TopRivals(as_count("k", k))


def contrast_mask(contrast: Contrast, logits: Tensor, target: Tensor, argument: str = "contrast") -> Tensor:
    """Return the contrast mask of each example, for one target class per example.

    There may be fewer sets than examples, by a whole factor r: NoiseTunnel and sensitivity_max repeat each example r
    times in place, and its set is repeated with it.

    Shapes: logits (N, C), target (N,) -> boolean (N, C).
    """
    is_target = torch.zeros_like(logits, dtype=torch.bool).scatter(1, target[:, None], True)
    if contrast is None:
        return ~is_target
    if callable(contrast):
        mask = _call(contrast, logits, target, argument)
    else:
        sets, examples = parse_contrast_sets(contrast, logits.shape[1], argument).to(logits.device), len(logits)
        repeats = examples // max(len(sets), 1)
        # All repeats of an example have its target. A batch in which they differ was not made by repeating.
        blocks = target.chunk(len(sets)) if repeats > 1 and len(sets) > 1 else ()
        is_mixed = any(bool((block != block[0]).any()) for block in blocks)
        if is_mixed or repeats * len(sets) != examples:
            raise ValueError(
                f"`{argument}` must have one set for the batch or one per example, got {len(sets)} sets for {examples} "
                "examples."
            )
        mask = sets.repeat_interleave(repeats, dim=0)
    conflicts = (mask & is_target).any(dim=1)
    if conflicts.any():
        example = int(conflicts.nonzero()[0])
        raise ValueError(
            f"`{argument}` must not contain the target, got a set with the target class {int(target[example])} for "
            f"example {example}."
        )
    return mask


def check_contrast_is_unambiguous(contrast: Contrast, target: object, argument: str = "contrast") -> None:
    """Raise a ValueError if ``contrast`` may be one set for the batch as well as one rival for each example.

    Both readings fit a flat sequence of classes that is as long as the targets given per example. Captum's tools repeat
    the targets in place, r times each, and leave the contrast as it was.
    """
    rivals, targets = _flat_classes(contrast), _per_example(target)
    repeats, rest = divmod(len(targets), max(len(rivals), 1))
    if len(rivals) < 2 or rest or not repeats:
        return
    firsts = targets[::repeats]
    is_repeated = all(bool(target == firsts[i // repeats]) for i, target in enumerate(targets))
    # One class for all of a longer batch gives no sign of repeats.
    if repeats == 1 or (is_repeated and any(bool(first != firsts[0]) for first in firsts)):
        rest_of = ", ..." if len(rivals) > 3 else ""
        one_each, one_set = (", ".join(map(str, shown)) + rest_of for shown in ([[r] for r in rivals[:3]], rivals[:3]))
        raise ValueError(
            f"`{argument}` must be one set for the batch or one set per example, got {len(rivals)} classes for as many "
            f"examples with a target each, which may mean either. For one rival per example pass `{argument}[:, None]` "
            f"or [{one_each}]; for one set for the batch pass [[{one_set}]]."
        )


def as_one_set(contrast: Contrast) -> Contrast:
    """Return a flat sequence of classes marked as one set for the batch, and any other contrast unchanged."""
    classes = _flat_classes(contrast)
    return [classes] if classes else contrast


def _flat_classes(contrast: Contrast) -> list[Any]:
    """Return the classes of an ordered flat collection; none if the contrast has any other form."""
    if not isinstance(contrast, (Sequence, Tensor, np.ndarray)) or not _is_collection(contrast):
        return []
    items = [item.item() if getattr(item, "ndim", None) == 0 else item for item in _items(contrast)]
    return [] if any(isinstance(item, bool) or _is_collection(item) for item in items) else items


def _per_example(target: object) -> list[Any]:
    """Return the targets if there is one per example, else none."""
    if isinstance(target, (Tensor, np.ndarray)):
        return list(target.tolist()) if target.ndim == 1 else []
    return target if isinstance(target, list) else []


def _call(contrast: ContrastFunction, logits: Tensor, target: Tensor, argument: str) -> Tensor:
    """Return a callable's mask, checked. Shapes: logits (N, C), target (N,) -> boolean (N, C)."""
    if contrast is top_rivals:  # type: ignore[comparison-overlap]
        raise TypeError(f"`{argument}` must be what top_rivals returns, such as top_rivals(5), got top_rivals itself.")
    mask = contrast(logits.detach(), target)
    must_return = f"The callable `{argument}` must return a boolean tensor of shape {tuple(logits.shape)}"
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(f"{must_return}, got {mask.dtype if isinstance(mask, Tensor) else type(mask).__name__}.")
    if mask.shape != logits.shape:
        raise ValueError(f"{must_return}, got shape {tuple(mask.shape)}.")
    return mask.to(logits.device)


def parse_contrast_sets(contrast: Contrast, classes: int, argument: str = "contrast") -> Tensor:
    """Return the mask of each set, for any form of contrast except a callable; None is the set of all classes.

    Shape: boolean (M, C), on the CPU or where a mask was; M = 1 is one set for the whole batch.
    """
    if contrast is None:
        return torch.ones(1, classes, dtype=torch.bool)
    if isinstance(contrast, (Tensor, np.ndarray)) and contrast.dtype in (torch.bool, np.bool_):
        mask = as_tensor(argument, contrast)
        if mask.ndim not in (1, 2) or mask.shape[-1] != classes:
            raise ValueError(
                f"`{argument}` must have shape ({classes},) or (N, {classes}) if it is a boolean mask, got "
                f"{tuple(mask.shape)}."
            )
        return mask.reshape(-1, classes)
    items = _items(contrast) if _is_collection(contrast) else [contrast]
    if getattr(contrast, "ndim", 1) > 1 and not items:
        return torch.zeros(0, classes, dtype=torch.bool)
    if items and all(map(_is_collection, items)):
        return torch.cat([_set_mask(_items(item), classes, argument) for item in items])
    return _set_mask(items, classes, argument)


def _is_collection(item: Any) -> bool:
    """Return whether the item holds classes rather than being one. A 0-dimensional tensor or array is a class."""
    return isinstance(item, Collection) and not isinstance(item, (str, bytes, dict)) and getattr(item, "ndim", 1) > 0


def _items(collection: Any) -> list[Any]:
    return collection.tolist() if hasattr(collection, "tolist") else list(collection)


def _set_mask(items: list[Any], classes: int, argument: str) -> Tensor:
    """Return the mask (1, C) of one set, from its classes or from one boolean per class."""
    if items and all(isinstance(item, bool) for item in items):
        if len(items) != classes:
            raise ValueError(
                f"`{argument}` must have one boolean for each of the {classes} classes, got {len(items)} booleans."
            )
        return torch.tensor([items])
    indices = [as_class(argument, item, _FORMS) for item in items]
    for index in indices:
        if not 0 <= index < classes:
            raise IndexError(f"`{argument}` must have classes from 0 to {classes - 1}, got {index}.")
    mask = torch.zeros(1, classes, dtype=torch.bool)
    mask[0, indices] = True
    return mask


def rank_rivals(logits: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each example's rivals, strongest first, with their weights and the target's margins over them.

    Shapes: logits (N, C), target (N,), mask (N, C) boolean -> rivals, weights and margins (N, K), with K the size of
    the largest set. Shorter rows are padded with class -1, weight 0 and margin 0.
    """
    # A class that the model rules out, with a logit of -inf, is no rival.
    mask = mask & (logits > -torch.inf)
    width = int(mask.sum(dim=1).max()) if len(mask) else 0
    strength, rivals = logits.detach().masked_fill(~mask, -torch.inf).topk(width, dim=1)
    missing = strength == -torch.inf
    # A row without rivals would be 0 / 0.
    weights = strength.masked_fill(missing.all(dim=1, keepdim=True), 0).softmax(dim=1).masked_fill(missing, 0)
    margins = (logits.gather(1, target[:, None]) - logits.gather(1, rivals)).masked_fill(missing, 0)
    return rivals.masked_fill(missing, -1), weights, margins
