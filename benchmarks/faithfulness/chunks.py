"""What is explained, in chunks: a model with some of its images, which any process can take at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

LOCALIZATION, DECISION = "localization", "prediction"


class Explained(NamedTuple):
    """A model in eval mode, the module whose output is explained, and the colour of nothing, (3, 1, 1)."""

    model: nn.Module
    layer: nn.Module
    blank: Tensor


class Images(NamedTuple):
    """Some images of a subject. Shapes: inputs (N, 3, H, W); of K objects labels (N, K) and masks (N, K, H, W)."""

    inputs: Tensor
    clusters: list[int]
    """What is resampled together."""
    labels: Tensor | None = None
    masks: Tensor | None = None


@dataclass(frozen=True)
class Subject:
    """A model, what it is shown, and which study it is for."""

    study: str
    name: str
    stratum: int
    """The model's seed."""
    count: int
    chunk: int
    load: Callable[[], Explained]
    images: Callable[[int, int], Images]
    """Those from one index up to another."""


@dataclass(frozen=True)
class Chunk:
    """Images of a subject that are examined together."""

    subject: Subject
    start: int
    key: str = field(init=False)
    """Unique."""

    def __post_init__(self) -> None:
        subject = self.subject
        object.__setattr__(self, "key", f"{subject.study}, {subject.name}, {subject.stratum}, {self.start}")

    @property
    def images(self) -> Images:
        """Its images."""
        return self.subject.images(self.start, min(self.start + self.subject.chunk, self.subject.count))


def chunks(subjects: list[Subject]) -> Iterator[Chunk]:
    """Every chunk of every subject, in a fixed order."""
    for subject in subjects:
        for start in range(0, subject.count, subject.chunk):
            yield Chunk(subject, start)
