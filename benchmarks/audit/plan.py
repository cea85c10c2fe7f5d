"""The models to audit, in order: all of the first seed, fewer of the others."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.audit.hand_made import HAND_MADE
from benchmarks.common.manipulated_models import (
    ADAPTIVE,
    AGAINST_EQUIVARIANT,
    AT_ONCE,
    ATTACKS,
    INJECTION,
    SHAM,
    SHAM_ALL,
)
from benchmarks.common.names import CLOTHES, CUTOUTS, GLYPHS, GLYPHS_2, GLYPHS_100, LITE0, SHOES

LITE1 = "efficientnet-lite1"
PRETRAINED = tuple(f"{model}, {images}" for model in (LITE0, LITE1) for images in ("photographs", "cut-outs"))
UNTRAINED = "untrained, on Fashion-MNIST"
_TRAINED = (
    *(CLOTHES, *(f"{CLOTHES}: {architecture}" for architecture in ("resnet", "vgg", "vit"))),
    *(GLYPHS, SHOES, GLYPHS_2, GLYPHS_100),
)
OCCLUSION_ATTACKS = {"occlusion, one fill": ("mean",), "occlusion, all fills": ("mean", "blur", "other")}
"""Attacks that also manipulate occlusion, with the fills that the attacker expects."""
HEO = tuple(name for name in ATTACKS if "Heo" in name)
_TRAINED_ATTACKS = (SHAM, SHAM_ALL, ADAPTIVE["logsumexp"], ADAPTIVE["mean"], AT_ONCE)
_ON_WHOLE_NETWORK = (*OCCLUSION_ATTACKS, AGAINST_EQUIVARIANT)
"""Attacks on the whole network, which take longest."""
_MAIN = (SHAM, AT_ONCE, INJECTION)
ATTACKED = {
    CLOTHES: (*_TRAINED_ATTACKS, INJECTION, *HAND_MADE, *HEO, *_ON_WHOLE_NETWORK),
    CUTOUTS: (SHAM, INJECTION, *HAND_MADE),
    GLYPHS: (*_MAIN, *HAND_MADE),
    SHOES: _MAIN,
}
"""The attacks on each kind of model."""
WEIGHTS = {CUTOUTS: 2.0}
USUAL_WEIGHT = 3.0
"""Weights of the map loss. The benchmark of attacks uses them too, so manipulated models are made only once."""
_ORDER = (*PRETRAINED, CUTOUTS, *_TRAINED, UNTRAINED)


@dataclass(frozen=True)
class Point:
    """A model to make and audit. Without an attack it is a clean model."""

    kind: str
    seed: int
    attack: str | None = None

    @property
    def key(self) -> str:
        """A unique name."""
        return f"{self.kind}, seed {self.seed}, {self.attack or 'clean'}"

    @property
    def fills(self) -> tuple[str, ...]:
        """The fills that an attack on occlusion expects; empty for other attacks."""
        return OCCLUSION_ATTACKS.get(self.attack or "", ())

    @property
    def on_whole_network(self) -> bool:
        """Whether the whole network is attacked."""
        return self.attack in _ON_WHOLE_NETWORK

    @property
    def weight(self) -> float:
        """The weight of the map loss."""
        return WEIGHTS.get(self.kind, USUAL_WEIGHT)


def planned(seeds: list[int], quick: bool) -> list[Point]:
    """Return every point, in order."""
    if quick:
        clean = [Point(kind, seeds[0]) for kind in (PRETRAINED[0], CLOTHES)]
        attacks = (SHAM, INJECTION, HAND_MADE[0], next(iter(OCCLUSION_ATTACKS)))
        return [*clean, *(Point(CLOTHES, seeds[0], attack) for attack in attacks)]
    first, *others = seeds
    return [*_of_seed(first), *(point for seed in others for point in _of_seed(seed) if not _first_seed_only(point))]


def _of_seed(seed: int) -> list[Point]:
    points = [Point(kind, seed) for kind in (*PRETRAINED, *_TRAINED, UNTRAINED)]
    points += [Point(kind, seed, attack) for kind, attacks in ATTACKED.items() for attack in attacks]
    # Successive points of one clean model make it only once.
    return sorted(points, key=lambda point: (point.on_whole_network, _ORDER.index(point.kind)))


def _first_seed_only(point: Point) -> bool:
    """Return whether a point is measured for the first seed alone, because it takes long or is the same for others."""
    return point.on_whole_network or point.kind in (*PRETRAINED, CUTOUTS, UNTRAINED)
