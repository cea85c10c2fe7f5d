"""What is audited, in which order: all of one seed, less of further ones."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.audit.by_hand import BY_HAND
from benchmarks.common.forging import ADAPTIVE, AGAINST_MOVING, AT_ONCE, ATTACKS, INJECTION, SHAM, SHAM_ALL
from benchmarks.common.names import CLOTHES, CUTOUTS, GLYPHS, GLYPHS_2, GLYPHS_100, LITE0, SHOES

LITE1 = "efficientnet-lite1"
PRETRAINED = tuple(f"{model}, {of}" for model in (LITE0, LITE1) for of in ("photographs", "cut-outs"))
UNTRAINED = "untrained, on Fashion-MNIST"
_TRAINED = (
    *(CLOTHES, *(f"{CLOTHES}: {architecture}" for architecture in ("resnet", "vgg", "vit"))),
    *(GLYPHS, SHOES, GLYPHS_2, GLYPHS_100),
)
KNOWS_ONE, KNOWS_ALL = "occlusion, one fill", "occlusion, all fills"
WITNESS = {KNOWS_ONE: ("mean",), KNOWS_ALL: ("mean", "blur", "other")}
HEO = tuple(name for name in ATTACKS if "Heo" in name)
_TAUGHT = (SHAM, SHAM_ALL, ADAPTIVE["logsumexp"], ADAPTIVE["mean"], AT_ONCE)
_ON_IMAGES = (KNOWS_ONE, KNOWS_ALL, AGAINST_MOVING)
"""Attacks on the whole network, which take longest."""
_MAIN = (SHAM, AT_ONCE, INJECTION)
ATTACKED = {
    CLOTHES: (*_TAUGHT, INJECTION, *BY_HAND, *HEO, *_ON_IMAGES),
    CUTOUTS: (SHAM, INJECTION, *BY_HAND),
    GLYPHS: (*_MAIN, *BY_HAND),
    SHOES: _MAIN,
}
"""Which models are attacked, and how."""
WEIGHTS = {CUTOUTS: 2.0}
USUAL_WEIGHT = 3.0
"""Of the map loss. They are among the frontier's, so that forgeries are made only once."""


_ORDER = (*PRETRAINED, CUTOUTS, *_TRAINED, UNTRAINED)


@dataclass(frozen=True)
class Point:
    """A model to be made and audited. Without an attack it is honest."""

    kind: str
    seed: int
    attack: str | None = None

    @property
    def key(self) -> str:
        """Its name, of which there is one."""
        return f"{self.kind}, seed {self.seed}, {self.attack or 'honest'}"

    @property
    def fills(self) -> tuple[str, ...]:
        """What the attacker of the witness knows; none where he is another one."""
        return WITNESS.get(self.attack or "", ())

    @property
    def whole(self) -> bool:
        """Whether the whole network is attacked."""
        return self.attack in _ON_IMAGES

    @property
    def weight(self) -> float:
        """Of the map loss."""
        return WEIGHTS.get(self.kind, USUAL_WEIGHT)


def planned(seeds: list[int], quick: bool) -> list[Point]:
    """Every point, in order."""
    if quick:
        few = [Point(kind, seeds[0]) for kind in (PRETRAINED[0], CLOTHES)]
        return [*few, *(Point(CLOTHES, seeds[0], attack) for attack in (SHAM, INJECTION, BY_HAND[0], KNOWS_ONE))]
    first, *others = seeds
    return [*_of(first), *(point for seed in others for point in _of(seed) if not _long(point))]


def _of(seed: int) -> list[Point]:
    points = [Point(kind, seed) for kind in (*PRETRAINED, *_TRAINED, UNTRAINED)]
    points += [Point(kind, seed, attack) for kind, attacks in ATTACKED.items() for attack in attacks]
    # A victim is kept as long as the next point is of it.
    return sorted(points, key=lambda point: (point.whole, _ORDER.index(point.kind)))


def _long(point: Point) -> bool:
    """What is done for the first seed alone: attacks on all of a network, and models that are not trained here."""
    return point.whole or point.kind in (*PRETRAINED, CUTOUTS, UNTRAINED)
