"""The models to audit, in order, with the attacks on each."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.audit.small_models import FLATTENED, POOLED
from benchmarks.common.names import MOBILENET

PRETRAINED = (f"{MOBILENET}, photographs",)
SHORTCUT = "plain, with a shortcut"
REPEATED = "plain, ten seeds of the audit"
"""The same images and models, audited with ten seeds."""
TRAINED_ATTACKED = "plain, attacked by training"
_POOLED_SEEDS, _ATTACKED_SEEDS = 3, 2
"""The number of seeds, which fits the whole run into half an hour on one core."""

ATTACKED = ("plain", "resnet")
"""Kinds that are manipulated by hand."""
HOAX, ONE_CLASS, WHITEWASH = "hoax on all images", "hoax for one class", "whitewash of a shortcut"
SHIFTS = {"shifted by (1, 0)": (1, 0), "shifted by (1, 1)": (1, 1), "shifted by (0, 2)": (0, 2)}
DESTROYED, OMISSION = "destroyed", "omission of the upper half"
SHAM, AT_ONCE = "SHAM", "adaptive, all at once"
ON_ALL = (HOAX, SHAM, AT_ONCE)
"""Attacks that show a hoax on all images."""


@dataclass(frozen=True)
class Point:
    """A kind of model and a seed: a clean model, and what is made of it."""

    kind: str
    seed: int

    @property
    def key(self) -> str:
        """A unique name."""
        return f"{self.kind}, seed {self.seed}"


def planned(seeds: list[int], quick: bool) -> list[Point]:
    """Return every point, in order."""
    if quick:
        return [Point("plain", seeds[0])]
    points = [
        Point(kind, seed)
        for number, seed in enumerate(seeds)
        for kind in (*POOLED, SHORTCUT, *FLATTENED)
        # A flattened model takes a third of the time, because it is not attacked.
        if number < _POOLED_SEEDS or kind in FLATTENED
    ]
    # Attacks by training, and audits of large images, take longest.
    points += [Point(TRAINED_ATTACKED, seed) for seed in seeds[:_ATTACKED_SEEDS]]
    return points + [Point(kind, seeds[0]) for kind in (REPEATED, *PRETRAINED)]
