"""Contrast sets as the command line names them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from benchmarks.common.options import UsageError
from captum_diffcam import top_rivals

TOP = "top:"


@dataclass(frozen=True)
class ContrastSet:
    """The classes to explain a target against: classes by number, or the ``highest`` scoring rivals, or all others."""

    label: str
    classes: tuple[int, ...] | None = None
    highest: int | None = None

    @property
    def argument(self) -> tuple[int, ...] | Callable[[Tensor, Tensor], Tensor] | None:
        """The set as the library takes it."""
        return top_rivals(self.highest) if self.highest else self.classes

    def names(self, target: int) -> bool:
        """Return whether the target is among the classes."""
        return self.classes is not None and target in self.classes

    def ranked(self, logits: Tensor, target: int) -> list[int]:
        """Return the classes of the set, the highest scoring first. Shape: logits (C,)."""
        order = logits.argsort(descending=True, stable=True).tolist()
        rivals = [index for index in order if index != target and (self.classes is None or index in self.classes)]
        return rivals[: self.highest]


EVERY_OTHER = ContrastSet("every other class")


def top(count: int) -> ContrastSet:
    """Return the set of the highest scoring rivals."""
    return ContrastSet(f"top {count} rivals", highest=count)


def class_index(option: str, text: str, names: Sequence[str]) -> int:
    """Return the class of a number or a name.

    Raises:
        UsageError: there is no such class, or several classes have this name.
    """
    if text.lstrip("-").isdecimal():
        if not 0 <= int(text) < len(names):
            raise UsageError(f"{option} must be a class from 0 to {len(names) - 1} or a name, got {text}")
        return int(text)
    matches = [index for index, name in enumerate(names) if name == text]
    matches = matches or [index for index, name in enumerate(names) if name.casefold() == text.casefold()]
    if len(matches) > 1:
        numbers = ", ".join(map(str, matches))
        raise UsageError(f"{option} must be one class, got {text!r}, the name of several; use one of {numbers}")
    if not matches:
        close = difflib.get_close_matches(text, names)
        hint = (
            f"did you mean {' or '.join(map(repr, close))}?"
            if close
            else f"use a number from 0 to {len(names) - 1} or a name"
        )
        raise UsageError(f"{option} must be a class, got {text!r}; {hint}")
    return matches[0]


def contrast_set(option: str, words: Sequence[str], names: Sequence[str]) -> ContrastSet:
    """Return the contrast set of an option: classes, or "top:K" for the K strongest rivals.

    Raises:
        UsageError: there is no such class, or K is not a number of at least 1.
    """
    if any(text.startswith(TOP) for text in words):
        count = words[0].removeprefix(TOP)
        if len(words) > 1 or not count.isdecimal() or int(count) < 1:
            raise UsageError(f"{option} must be classes, or {TOP}K alone with K >= 1, got {' '.join(words)!r}")
        return top(int(count))
    classes = tuple(dict.fromkeys(class_index(option, text, names) for text in words))
    label = ", ".join(names[index] for index in classes) if len(classes) < 3 else f"{len(classes)} classes"
    return ContrastSet(label, classes=classes)
