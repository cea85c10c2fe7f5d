"""What is measured: studies, classifiers and pictures, in pieces that any process can take at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from benchmarks.faithfulness.options import CLASSES, GRIDPG, NATS, PARAMETERS, REMOVAL, STUDIES
from benchmarks.faithfulness.studies.methods import OTHERS_SHOWN, Method, Question, all_methods
from benchmarks.faithfulness.studies.nats import hidden_regions
from benchmarks.faithfulness.studies.networks import Network
from benchmarks.faithfulness.studies.pictures import PHOTOGRAPHS, Pictures, draw_mosaics, mosaic
from benchmarks.faithfulness.studies.removal import Numbers, removal
from benchmarks.faithfulness.studies.sanity import class_sensitivity, grid_pointing, randomisation

CONFIDENT = 0.5
"""The least probability of the predicted class, for all pictures but the photographs outside of mosaics."""
Recognised: TypeAlias = Mapping[str, Tensor]
"""Predicted classes and their probabilities, (N,) each, of all pictures of one kind."""


@dataclass(frozen=True)
class Sizes:
    """How many images each study takes."""

    mosaics: Mapping[int, int]
    """The number of mosaics by the tiles on each side."""
    images: Mapping[str, int]
    """The number of images of each kind and classifier, by study."""
    slow: Mapping[str, int]
    """The number of these (in GridPG, of 2 x 2 mosaics) for methods that run the classifier many times."""


FULL = Sizes(
    {2: 50, 3: 10},
    {CLASSES: 100, PARAMETERS: 16, REMOVAL: 24, NATS: 24},
    {GRIDPG: 2, CLASSES: 1, PARAMETERS: 2, REMOVAL: 2, NATS: 4},
)
QUICK = Sizes({2: 2}, {CLASSES: 4, PARAMETERS: 2, REMOVAL: 2, NATS: 2}, dict.fromkeys(STUDIES, 1))
_BATCH, _RECOGNISED = 4, 16


@dataclass(frozen=True)
class Subject:
    """A classifier and the kinds of pictures that it is shown."""

    name: str
    load: Callable[[], Network]
    pictures: tuple[Pictures, ...]
    sides: tuple[int, ...]
    """The tiles on each side of its mosaics."""


@dataclass(frozen=True)
class Piece:
    """Some images of a subject, for one study."""

    study: str
    subject: Subject
    kind: str
    """The kind of pictures, or of mosaics."""
    pictures: tuple[tuple[int, ...], ...]
    """The pictures by number among all of the subject, one for each image, or all tiles of a mosaic."""
    start: int
    slow: bool
    """Whether slow methods take part."""

    @property
    def key(self) -> str:
        """A unique name."""
        return f"{self.study}, {self.subject.name}, {self.kind}, {self.start}"


def recognise(subject: Subject) -> dict[str, Tensor]:
    """Return the predicted class of every picture of the subject, and its probability."""
    network, parts = subject.load(), []
    images = [pictures.image(index) for pictures in subject.pictures for index in range(pictures.count)]
    with torch.no_grad():
        for start in range(0, len(images), _RECOGNISED):
            logits = network.whole(torch.stack(images[start : start + _RECOGNISED]).to(network.device))
            parts.append(logits.softmax(dim=1).max(dim=1))
    return {
        "classes": torch.cat([part.indices for part in parts]),
        "confidence": torch.cat([part.values for part in parts]),
    }


def pieces(
    subject: Subject, recognised: Recognised, studies: tuple[str, ...], sizes: Sizes, seed: int
) -> Iterator[Piece]:
    """Return every piece of a subject, in a fixed order. Mosaics need as many recognised classes as tiles."""
    confident = recognised["confidence"] >= CONFIDENT
    for study in studies:
        if study == GRIDPG:
            known = confident.nonzero()[:, 0]
            classes = len(set(recognised["classes"][known].tolist()))
            for side in (side for side in subject.sides if side in sizes.mosaics and classes >= side**2):
                drawn = draw_mosaics(recognised["classes"][known], sizes.mosaics[side], side**2, seed)
                shown: list[tuple[int, ...]] = [tuple(known[tiles].tolist()) for tiles in drawn]
                slow = sizes.slow[study] if side == 2 else 0
                yield from _split(study, subject, f"{side} x {side} mosaics", shown, 1, slow)
            continue
        first = 0
        for pictures in subject.pictures:
            among = torch.arange(first, first + pictures.count)
            if pictures.kind != PHOTOGRAPHS:
                among = among[confident[first : first + pictures.count]]
            first += pictures.count
            order = torch.randperm(len(among), generator=torch.Generator().manual_seed(seed))
            chosen: list[tuple[int, ...]] = [(index,) for index in among[order][: sizes.images[study]].tolist()]
            yield from _split(study, subject, pictures.kind, chosen, _BATCH, sizes.slow[study])


def _split(
    study: str, subject: Subject, kind: str, shown: list[tuple[int, ...]], batch: int, slow: int
) -> Iterator[Piece]:
    # Images with slow methods are not mixed with others.
    starts = [*range(0, slow, batch), *range(slow, len(shown), batch)]
    for start, stop in zip(starts, [*starts[1:], len(shown)], strict=True):
        if shown[start:stop]:
            yield Piece(study, subject, kind, tuple(shown[start:stop]), start, start < slow)


def measure(
    piece: Piece,
    recognised: Recognised,
    seed: int,
    *,
    peers: bool = True,
    methods_of: Callable[[Network], list[Method]] | None = None,
) -> Numbers:
    """Return a number for each target of the piece by "measure|method", and the pictures that it belongs to.

    ``methods_of`` returns other methods than those of this benchmark.
    """
    network = piece.subject.load()
    seed = seed + piece.start
    all_of = _methods(network, seed, peers) if methods_of is None else methods_of(network)
    methods = [method for method in all_of if piece.slow or not method.slow]
    if piece.study == GRIDPG:
        (tiles,) = piece.pictures
        side = round(len(tiles) ** 0.5)
        shown = [_picture(piece.subject, index) for index in tiles]
        image = mosaic([tile for _, tile, _ in shown])[None].to(network.device)
        targets = recognised["classes"][list(tiles)].to(network.device)
        others = torch.stack([targets[targets != target] for target in targets])
        count, cells = len(tiles), 4 * side
        features = network.features(image).expand(count, -1, -1, -1).contiguous()
        question = Question(image.expand(count, -1, -1, -1), features, targets, others, (cells, cells))
        return {"cluster": _clusters(shown), **grid_pointing(methods, question, side)}
    shown = [_picture(piece.subject, index) for (index,) in piece.pictures]
    images = torch.stack([image for image, _, _ in shown]).to(network.device)
    features = network.features(images)
    with torch.no_grad():
        logits = network.tail(features)
    question = Question(images, features, logits.argmax(dim=1))
    alone = [method for method in methods if method.name != OTHERS_SHOWN]
    numbers = {"cluster": _clusters(shown)}
    if piece.study == CLASSES:
        return numbers | class_sensitivity(alone, question, logits, seed)
    if piece.study == PARAMETERS:
        return numbers | randomisation(network, alone, question, seed, peers=peers)
    if piece.study == REMOVAL:
        return numbers | removal(network, alone, question, seed)
    return numbers | hidden_regions(network, alone, question)


def _clusters(shown: list[tuple[Tensor, Tensor, int]]) -> Tensor:
    """Return which images are resampled together: those of one thing. Shape: (N,)."""
    return torch.tensor([thing for _, _, thing in shown])


def _methods(network: Network, seed: int, peers: bool) -> list[Method]:
    return all_methods(network, seed, peers=peers)


def _picture(subject: Subject, index: int) -> tuple[Tensor, Tensor, int]:
    """Return the image, the tile and the number of the thing of a picture, by its number among all of the subject."""
    things = 0
    for pictures in subject.pictures:
        if index < pictures.count:
            return pictures.image(index), pictures.tile(index), things + index % pictures.different
        index -= pictures.count
        things += pictures.different
    raise IndexError(f"`index` must be below the number of pictures, got {index} too many.")
