"""What is measured, in which order: the most telling points first, so that a run that is stopped has said the most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.common.forging import ADAPTIVE, AGAINST_MOVING, AT_ONCE, INJECTION, SHAM, SHAM_ALL
from benchmarks.common.names import CLOTHES, CUTOUTS, GLYPHS, SHOES
from benchmarks.common.victims import Reach, Setting

HONEST = "none"
_MANY = 1000


@dataclass(frozen=True)
class Weights:
    """Of the map loss."""

    sham: tuple[float, ...]
    """With which SHAM of the true class is tried, over three decades."""
    others: tuple[float, ...]
    """With which other attacks are."""
    middle: float
    """With which it is asked what the attacker trains."""


_SMALL = Weights((0.1, 0.5, 3.0, 20.0, 100.0), (0.5, 3.0, 20.0), 3.0)
_LARGE = Weights((0.2, 0.5, 2.0), (0.5, 2.0), 0.5)
"""On the large model fewer, because an attack on it takes minutes."""
MAIN_ATTACKS = (SHAM, SHAM_ALL, ADAPTIVE["logsumexp"], ADAPTIVE["mean"], AT_ONCE)
_DOUBLE = (ADAPTIVE["mean"], ADAPTIVE["max"])
"""On two classes an adaptive attack is one attack, whatever the reduction."""


@dataclass(frozen=True)
class Point:
    """One forgery to make and measure."""

    setting: str
    seed: int
    trained: Reach
    attack: str
    weight: float

    @property
    def key(self) -> str:
        """Its name, of which there is one."""
        return f"{self.setting}, seed {self.seed}, {self.trained}, {self.attack}, {self.weight:g}"

    def told(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)


def planned(settings: Mapping[str, Setting], seeds: list[int], quick: bool) -> list[Point]:
    """Every point: all attacks and what the attacker trains, other seeds of small nets, and SHAM of everything else."""
    if quick:
        chosen = [name for name, setting in settings.items() if setting.classes >= _FEWEST_QUICK or len(settings) == 1]
        return [point for name in chosen[:_MOST_QUICK] for point in _quick(name, settings[name], seeds[0])]
    detailed = {name: setting for name, setting in settings.items() if name in _IN_DETAIL or len(settings) == 1}
    first, *others = seeds
    points = [point for name, setting in detailed.items() for point in _swept(name, setting, first, MAIN_ATTACKS)]
    small = {name: setting for name, setting in detailed.items() if setting.classes < _MANY}
    points += [point for name, setting in detailed.items() for point in _reaching(name, setting, first)]
    for seed in others:
        points += [point for name, setting in small.items() for point in _swept(name, setting, seed, MAIN_ATTACKS)]
    for seed in seeds:
        points += [point for name, setting in settings.items() for point in _swept(name, setting, seed, (SHAM,))]
    kept = [point for point in points if not (settings[point.setting].classes == 2 and point.attack in _DOUBLE)]
    return list(dict.fromkeys(kept))


_IN_DETAIL = (CUTOUTS, CLOTHES, GLYPHS, SHOES)
"""The settings in which every attack is tried; in the others it is SHAM of the true class."""
_FEWEST_QUICK, _MOST_QUICK = 10, 3


def weights_of(setting: Setting) -> Weights:
    return _LARGE if setting.classes >= _MANY else _SMALL


def _quick(name: str, setting: Setting, seed: int) -> Iterator[Point]:
    yield Point(name, seed, setting.reaches[0], HONEST, 0.0)
    yield Point(name, seed, setting.reaches[0], SHAM, weights_of(setting).sham[1])


def _swept(name: str, setting: Setting, seed: int, attacks: Sequence[str]) -> Iterator[Point]:
    """SHAM of the true class with every weight, other attacks with some."""
    reach, weights = setting.reaches[0], weights_of(setting)
    yield Point(name, seed, reach, HONEST, 0.0)
    for attack in attacks:
        some = weights.sham if attack == SHAM else weights.others
        yield from (Point(name, seed, reach, attack, weight) for weight in some)


def _reaching(name: str, setting: Setting, seed: int) -> Iterator[Point]:
    """What the attacker trains, at one weight; injection; and who trains against the equivariant part."""
    weight = weights_of(setting).middle
    # A model of the user's need not have the head that it takes.
    if name in _IN_DETAIL:
        yield Point(name, seed, setting.reaches[0], INJECTION, 0.0)
    for reach in setting.reaches[1:]:
        yield Point(name, seed, reach, HONEST, 0.0)
        yield Point(name, seed, reach, SHAM, weight)
    if "all" in setting.reaches and setting.classes < _MANY:
        yield Point(name, seed, "all", HONEST, 0.0)
        yield Point(name, seed, "all", AGAINST_MOVING, weight)
