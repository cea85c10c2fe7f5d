"""What is audited, in which order: the most telling first, so that a run that is stopped has said the most."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.common.forging import ADAPTIVE, AT_ONCE, ATTACKS, INJECTION, SHAM, SHAM_ALL
from benchmarks.common.names import LITE0

LITE1 = "efficientnet-lite1"
PRETRAINED = tuple(f"{model}, {of}" for model in (LITE0, LITE1) for of in ("photographs", "cut-outs"))
UNTRAINED = "untrained, on Fashion-MNIST"
_TRAINED = (
    *("Fashion-MNIST, 10 classes", "glyphs, 10 classes", "Fashion-MNIST, 2 classes", "glyphs, 2 classes"),
    *("Fashion-MNIST, 10 classes: resnet", "Fashion-MNIST, 10 classes: vgg", "Fashion-MNIST, 10 classes: vit"),
    *("Fashion-MNIST, 2 classes: resnet", "glyphs, 100 classes"),
)
CUTOUTS = "cut-outs, 1000 classes"
ATTACKED = {"Fashion-MNIST, 10 classes": 3.0, "glyphs, 10 classes": 3.0, CUTOUTS: 0.5, "Fashion-MNIST, 2 classes": 3.0}
"""Weights of the map loss, the middle ones of the frontier's."""
KNOWS_ONE, KNOWS_ALL = "of the witness, one fill", "of the witness, all fills"
WITNESS = {KNOWS_ONE: ("mean",), KNOWS_ALL: ("mean", "blur", "other")}
HEO = tuple(name for name in ATTACKS if "Heo" in name)
_MAIN = (SHAM, AT_ONCE, INJECTION)
_TAUGHT = (SHAM_ALL, ADAPTIVE["logsumexp"], ADAPTIVE["mean"])
_MORE = (KNOWS_ALL, KNOWS_ONE, *_TAUGHT, *HEO)


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


def planned(seeds: list[int], quick: bool) -> list[Point]:
    """Every point, in order."""
    if quick:
        few = [Point(kind, seeds[0]) for kind in (PRETRAINED[0], _TRAINED[0])]
        return [*few, *(Point(_TRAINED[0], seeds[0], attack) for attack in (SHAM, INJECTION, KNOWS_ONE))]
    first = list(ATTACKED)[:2]
    points = []
    for seed in seeds:
        points += [Point(kind, seed) for kind in first]
        points += [Point(first[0], seed, attack) for attack in (*_MAIN, *_TAUGHT)]
        points += [Point(kind, seed) for kind in PRETRAINED]
        points += [Point(CUTOUTS, seed, attack) for attack in (SHAM, INJECTION)]
        points += [Point(first[1], seed, attack) for attack in (INJECTION, SHAM, AT_ONCE)]
        points += [Point(first[0], seed, attack) for attack in (KNOWS_ALL, KNOWS_ONE)]
        points += [Point(kind, seed) for kind in (*_TRAINED[2:], UNTRAINED)]
    for seed in seeds:
        points += [Point(kind, seed) for kind in (*PRETRAINED, *_TRAINED, UNTRAINED)]
        points += [Point(kind, seed, attack) for kind in ATTACKED for attack in (*_MAIN, *_MORE)]
    # On the scenes of cut-outs the attackers of the witness would take hours.
    return [p for p in dict.fromkeys(points) if not (p.kind == CUTOUTS and p.attack in WITNESS)]
