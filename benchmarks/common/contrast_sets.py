"""Contrast sets as options name them: why this class, and rather than which others."""

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
    """The classes to explain a target against: those named, or the highest scoring others, or all others."""

    label: str
    classes: tuple[int, ...] | None = None
    highest: int | None = None

    @property
    def argument(self) -> tuple[int, ...] | Callable[[Tensor, Tensor], Tensor] | None:
        """The set as captum_diffcam takes it."""
        return top_rivals(self.highest) if self.highest else self.classes

    def names(self, target: int) -> bool:
        """Whether the target is named as its own rival."""
        return self.classes is not None and target in self.classes

    def ranked(self, logits: Tensor, target: int) -> list[int]:
        """The members, the highest scoring first. Shape: logits (C,)."""
        order = logits.argsort(descending=True, stable=True).tolist()
        members = [index for index in order if index != target and (self.classes is None or index in self.classes)]
        return members[: self.highest]


EVERY_OTHER = ContrastSet("every other class")


def top(count: int) -> ContrastSet:
    return ContrastSet(f"top {count} rivals", highest=count)


def class_index(option: str, text: str, names: Sequence[str]) -> int:
    """The class that a number or a name means.

    Raises:
        UsageError: there is no such class, or several have this name.
    """
    if text.lstrip("-").isdecimal():
        if not 0 <= int(text) < len(names):
            raise UsageError(f"{option}: there is no class {text}; allowed are 0 to {len(names) - 1} and names")
        return int(text)
    found = [index for index, name in enumerate(names) if name == text]
    found = found or [index for index, name in enumerate(names) if name.casefold() == text.casefold()]
    if len(found) > 1:
        raise UsageError(f"{option}: several classes are named {text!r}; give one of {', '.join(map(str, found))}")
    if not found:
        close = difflib.get_close_matches(text, names)
        hint = (
            f"did you mean {' or '.join(map(repr, close))}?"
            if close
            else f"allowed are 0 to {len(names) - 1} and names"
        )
        raise UsageError(f"{option}: there is no class {text!r}; {hint}")
    return found[0]


def contrast_set(option: str, given: Sequence[str], names: Sequence[str]) -> ContrastSet:
    """The contrast set that the words of an option mean: classes, or "top:K".

    Raises:
        UsageError: there is no such class, or K is not a number of at least 1.
    """
    if any(text.startswith(TOP) for text in given):
        count = given[0].removeprefix(TOP)
        if len(given) > 1 or not count.isdecimal() or int(count) < 1:
            raise UsageError(f"{option}: got {' '.join(given)!r}; allowed is {TOP}K on its own, with K of at least 1")
        return top(int(count))
    classes = tuple(dict.fromkeys(class_index(option, text, names) for text in given))
    label = ", ".join(names[index] for index in classes) if len(classes) < 3 else f"{len(classes)} classes"
    return ContrastSet(label, classes=classes)
