"""The models to audit, in order, with the attacks on each."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.audit.small_models import FLATTENED
from benchmarks.common.names import LITE0, LITE1, MOBILENET

PHOTOGRAPHS = {f"{MOBILENET}, photographs": MOBILENET}
CUTOUTS = {f"{name}, cut-outs": name for name in (MOBILENET, LITE0, LITE1)}
"""Kinds with the weights of ImageNet, and the classifier of each."""
SHIFTED_TOO = {f"{MOBILENET}, cut-outs": 1, f"{LITE0}, cut-outs": 3}
"""Those whose features are shifted, and by how many of the shifts."""
NOT_COMPARED = (*PHOTOGRAPHS, *CUTOUTS)
"""Those that are not compared with exhaustive occlusion, for want of time."""
DOCUMENTS = "PP-LCNet, rotated pages"
LARGE = (*PHOTOGRAPHS, DOCUMENTS, *CUTOUTS)
"""Kinds with images of 224 x 224 pixels and more."""
TEXTILE, TRANSFORMER = "textile defects", "vision transformer"
SHORTCUT = "plain, with a shortcut"
REPEATED = "plain, ten seeds of the audit"
"""The same images and models, audited with ten seeds."""
ATTACKED = ("plain", "resnet")
"""Kinds that are manipulated by hand."""
TRAINED_ATTACKED = {f"{kind}, attacked by training": kind for kind in ATTACKED}
SIMULATED = "simulated audits"
HOAX, ONE_CLASS, WHITEWASH = "hoax on all images", "hoax for one class", "whitewash of a shortcut"
SHIFTS = {"shifted by (1, 0)": (1, 0), "shifted by (1, 1)": (1, 1), "shifted by (0, 2)": (0, 2)}
DESTROYED, OMISSION = "destroyed", "omission of the upper half"
SHAM, AT_ONCE = "SHAM", "adaptive, all at once"
ON_ALL = (HOAX, SHAM, AT_ONCE)
"""Attacks that are meant to show a hoax on all images. Those that are trained may fail."""
HALF_CELL, ONE_IN_THREE, RARE = "shifted by half a cell", "hoax on one image in three", "hoax for a rare class"
OCCLUSION_TOO = "occlusion trained to show the hoax, too"
AGAINST_THE_AUDIT = (HALF_CELL, ONE_IN_THREE, RARE, OCCLUSION_TOO)
"""Attacks by someone who knows the audit."""


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
        return [Point("plain", seeds[0]), Point(SIMULATED, seeds[0])]
    points = [Point(kind, seeds[0]) for kind in (TEXTILE, *LARGE, TRANSFORMER)]
    points += [Point(kind, seed) for seed in seeds[:3] for kind in ("plain", "resnet", SHORTCUT)]
    points += [Point("vgg", seed) for seed in seeds[:2]]
    points += [Point(kind, seed) for seed in seeds[:2] for kind in TRAINED_ATTACKED]
    points += [Point(kind, seed) for seed in seeds for kind in FLATTENED]
    return points + [Point(kind, seeds[0]) for kind in (SIMULATED, REPEATED)]
