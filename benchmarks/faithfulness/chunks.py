"""What is explained, in chunks: a model with some of its images, which any process can take at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

LOCALIZATION, PREDICTION = "localization", "prediction"


class Explained(NamedTuple):
    """A model in eval mode, the module whose output is explained, and the colour of a blank image, (3, 1, 1)."""

    model: nn.Module
    layer: nn.Module
    blank: Tensor


class Images(NamedTuple):
    """Some images of a subject with K objects. Shapes: inputs (N, 3, H, W), labels (N, K), masks (N, K, H, W)."""

    inputs: Tensor
    clusters: list[int]
    """Images of one cluster are resampled together."""
    labels: Tensor | None = None
    masks: Tensor | None = None


@dataclass(frozen=True)
class Subject:
    """A model with its images, for one study."""

    study: str
    name: str
    stratum: int
    """The seed of the model."""
    count: int
    chunk: int
    load: Callable[[], Explained]
    images: Callable[[int, int], Images]
    """Returns the images from one index up to another."""


@dataclass(frozen=True)
class Chunk:
    """Images of a subject that are measured together."""

    subject: Subject
    start: int
    key: str = field(init=False)
    """A unique name."""

    def __post_init__(self) -> None:
        subject = self.subject
        object.__setattr__(self, "key", f"{subject.study}, {subject.name}, {subject.stratum}, {self.start}")

    @property
    def images(self) -> Images:
        """The images of the chunk."""
        return self.subject.images(self.start, min(self.start + self.subject.chunk, self.subject.count))


def chunks(subjects: list[Subject]) -> Iterator[Chunk]:
    """Return every chunk of every subject, in a fixed order."""
    for subject in subjects:
        for start in range(0, subject.count, subject.chunk):
            yield Chunk(subject, start)
