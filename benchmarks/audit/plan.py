"""The models to audit, in order, with the attacks on each."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.audit.small_models import FLATTENED, POOLED
from benchmarks.common.names import LITE0, MOBILENET

PHOTOGRAPHS = {f"{MOBILENET}, photographs": MOBILENET}
CUTOUTS = {f"{LITE0}, cut-outs": LITE0}
"""Kinds with the weights of ImageNet, and the classifier of each."""
DOCUMENTS = "PP-LCNet, rotated pages"
LARGE = (*PHOTOGRAPHS, DOCUMENTS, *CUTOUTS)
"""Kinds with images of 224 x 224 pixels and more, which are not compared with exhaustive occlusion."""
SHORTCUT = "plain, with a shortcut"
REPEATED = "plain, ten seeds of the audit"
"""The same images and models, audited with ten seeds."""
TRAINED_ATTACKED = "plain, attacked by training"
SIMULATED = "simulated audits"
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
    batches: int = 2
    """Batches that are audited after each attack by hand; of the whitewashed shortcut, twice as many."""

    @property
    def key(self) -> str:
        """A unique name."""
        return f"{self.kind}, seed {self.seed}"


def planned(seeds: list[int], quick: bool) -> list[Point]:
    """Return every point, in order."""
    if quick:
        return [Point("plain", seeds[0]), Point(SIMULATED, seeds[0])]
    first, later = seeds[:2], seeds[2:]
    points = [Point(kind, seed) for seed in first for kind in (*POOLED, SHORTCUT, *FLATTENED)]
    points += [Point(TRAINED_ATTACKED, seed) for seed in first]
    points += [Point(kind, seeds[0]) for kind in (SIMULATED, REPEATED)]
    # The third seed brings attacks to 20 audits. Flattened models have all seeds, and take less time.
    points += [Point(kind, seed, batches=6) for seed in later[:1] for kind in (*ATTACKED, SHORTCUT)]
    points += [Point(kind, seeds[0]) for kind in LARGE]
    return points + [Point(kind, seed) for seed in later for kind in FLATTENED]
