"""What figures say about classes: their names, their probabilities and the rivals of each map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, Union, get_args

import torch
from torch import Tensor

from captum_diffcam.results import Explanation, RivalMaps

ClassNames: TypeAlias = Union[Sequence[str], Mapping[int, str], None]
"""The names of the classes, by number."""

Probabilities = Literal["auto", "softmax", "sigmoid"]
"""How the printed probabilities are computed from the logits."""

SIGNED = ("speaks against the class", "neither", "speaks for the class")
POSITIVE = ("no evidence for the class", "", "strongest evidence")
"""The words at the left end, the middle and the right end of the colour bar, for signed maps and for positive parts."""

_NAMED = 2
"""The number of rivals that are named above a map."""


def target_texts(
    result: Explanation | RivalMaps, classes: ClassNames, probabilities: Probabilities | None
) -> list[str]:
    """Return the explained class of each example with its probability."""
    return [name for (name,) in _names(result, result.target[:, None], classes, probabilities)]


def rival_texts(
    result: Explanation | RivalMaps, classes: ClassNames, probabilities: Probabilities | None
) -> list[list[str | None]]:
    """Return the words for the rivals of each map, by rival and example. None stands for a map that is not there."""
    if isinstance(result, RivalMaps):
        names = _names(result, result.rivals, classes, probabilities)
        return [[f"rather than\n{name}" if name else None for name in rival] for rival in zip(*names, strict=True)]
    mask = result.contrast_mask.cpu()
    logits = result.logits.detach().float().cpu()
    strength = logits if logits.shape == mask.shape else torch.zeros(mask.shape)
    order = strength.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    names = _names(result, order[:, :_NAMED], classes, probabilities)
    texts: list[str | None] = []
    for count, ranked in zip(mask.sum(dim=1).tolist(), names, strict=True):
        named = " or ".join(ranked[:count]) if count <= _NAMED else f"{', '.join(ranked)}, {count - _NAMED} more"
        everyone = count > _NAMED and count == mask.shape[1] - 1
        texts.append("" if everyone or not count else f"rather than\n{named}")
    return [texts]


def bar_words(results: Sequence[Explanation | RivalMaps], classes: ClassNames, positive: bool) -> tuple[str, str, str]:
    """Return the words of the colour bar. They name the class and its rival if all rows have the same."""
    if not results:
        return POSITIVE if positive else SIGNED
    targets = {index for result in results for index in result.target.tolist()}
    name = class_name(classes, targets.pop()) if len(targets) == 1 else "the class"
    if positive:
        return f"no evidence for {name}", "", "strongest evidence"
    sets: list[list[int]] = []
    others = 0
    for result in results:
        if isinstance(result, RivalMaps):
            sets += [[index] for row in result.rivals.tolist() for index in row if index >= 0]
        else:
            sets += [row.nonzero().flatten().tolist() for row in result.contrast_mask]
            others = result.contrast_mask.shape[1] - 1
    if not any(sets):
        against = f"speaks against {name}"
    elif all(rivals == sets[0] and len(rivals) == 1 for rivals in sets):
        against = f"speaks for {class_name(classes, sets[0][0])}"
    elif others > 1 and all(len(rivals) == others for rivals in sets):
        against = "speaks for other classes"
    else:
        against = f"speaks for the rival{'s' if any(len(rivals) > 1 for rivals in sets) else ''}"
    return against, "neither", f"speaks for {name}"


def class_name(classes: ClassNames, index: int) -> str:
    """Return the name of a class, or its number if no names are given."""
    if classes is None:
        return f"class {index}"
    try:
        return str(classes[index])
    except (IndexError, KeyError):
        raise IndexError(f"`classes` must have a name for class {index}, got {len(classes)} names.") from None


def percent(probability: float) -> str:
    """Return a probability as whole percents, or as "<1%" or ">99%"."""
    if 0.005 <= probability < 0.995:
        return f"{probability:.0%}"
    return "<1%" if probability < 0.5 else ">99%"


def _names(
    result: Explanation | RivalMaps, numbers: Tensor, classes: ClassNames, probabilities: Probabilities | None
) -> list[list[str]]:
    """Return the names of classes with their probabilities, "" for class -1. Shape: numbers (N, K)."""
    numbers = numbers.cpu()
    endings = [[""] * numbers.shape[1]] * len(numbers)
    values = _probabilities(result, probabilities)
    if values is not None:
        chosen = values.gather(1, numbers.clamp(min=0)).tolist()
        endings = [[f" {percent(probability)}" for probability in row] for row in chosen]
    return [
        [class_name(classes, i) + ending if i >= 0 else "" for i, ending in zip(row, row_endings, strict=True)]
        for row, row_endings in zip(numbers.tolist(), endings, strict=True)
    ]


def _probabilities(result: Explanation | RivalMaps, kind: Probabilities | None) -> Tensor | None:
    """Return the probabilities of the classes, (N, C), or None if none are to be printed."""
    if kind is not None and kind not in get_args(Probabilities):
        allowed = ", ".join(map(repr, (*get_args(Probabilities), None)))
        raise ValueError(f"`probabilities` must be one of {allowed}, got {kind!r}.")
    logits = result.logits.detach().float().cpu()
    shape = tuple(logits.shape)
    logits = logits[:, None] if logits.ndim == 1 else logits
    has_positions = logits.shape[2:].numel() > 1
    one_logit = logits.shape[1] == 1
    if kind == "auto":
        no_contrast = isinstance(result, Explanation) and not result.contrast_mask.any()
        kind = None if has_positions or (no_contrast and not one_logit) else "sigmoid" if one_logit else "softmax"
    if kind is None:
        return None
    if has_positions:
        raise ValueError(f"`probabilities` must be None for an output with positions, {shape}, got {kind!r}.")
    logits = logits.flatten(1)
    if one_logit:
        if kind == "softmax":
            raise ValueError("`probabilities` must be 'sigmoid' or None for one logit per example, got 'softmax'.")
        # Class 1 is a positive logit, class 0 a negative one.
        return torch.cat([-logits, logits], dim=1).sigmoid()
    return logits.softmax(dim=1) if kind == "softmax" else logits.sigmoid()
