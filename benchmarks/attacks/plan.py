"""The points to measure, in order: the most informative first, for runs that are stopped early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.common.clean_models import Setting, TrainedPart
from benchmarks.common.manipulated_models import ADAPTIVE, AGAINST_EQUIVARIANT, AT_ONCE, INJECTION, SHAM, SHAM_ALL
from benchmarks.common.names import CLOTHES, CUTOUTS, GLYPHS, SHOES

NO_ATTACK = "none"
_MANY = 1000


@dataclass(frozen=True)
class Weights:
    """Weights of the map loss."""

    sham: tuple[float, ...]
    """For SHAM on the true class, over three decades."""
    others: tuple[float, ...]
    """For other attacks."""
    middle: float
    """For the comparison of what the attacker trains."""


_SMALL = Weights((0.1, 0.5, 3.0, 20.0, 100.0), (0.5, 3.0, 20.0), 3.0)
_LARGE = Weights((0.2, 0.5, 2.0), (0.5, 2.0), 0.5)
"""Fewer for the large model, because an attack on it takes minutes."""
MAIN_ATTACKS = (SHAM, SHAM_ALL, ADAPTIVE["logsumexp"], ADAPTIVE["mean"], AT_ONCE)
_SAME_WITH_TWO_CLASSES = (ADAPTIVE["mean"], ADAPTIVE["max"])
"""With two classes all reductions are the same, so one adaptive attack is enough."""
_IN_DETAIL = (CUTOUTS, CLOTHES, GLYPHS, SHOES)
"""The settings with every attack. The others have SHAM on the true class."""
_FEWEST_QUICK, _MOST_QUICK = 10, 3


@dataclass(frozen=True)
class Point:
    """One model to make and measure."""

    setting: str
    seed: int
    trained: TrainedPart
    attack: str
    weight: float

    @property
    def key(self) -> str:
        """A unique name."""
        return f"{self.setting}, seed {self.seed}, {self.trained}, {self.attack}, {self.weight:g}"

    def fields(self) -> dict[str, Any]:
        """Return the fields for the record."""
        return asdict(self)


def planned(settings: Mapping[str, Setting], seeds: list[int], quick: bool) -> list[Point]:
    """Return every point: all attacks on the first seed, then the small nets of other seeds, then SHAM everywhere."""
    if quick:
        chosen = [name for name, setting in settings.items() if setting.classes >= _FEWEST_QUICK or len(settings) == 1]
        return [point for name in chosen[:_MOST_QUICK] for point in _quick(name, settings[name], seeds[0])]
    detailed = {name: setting for name, setting in settings.items() if name in _IN_DETAIL or len(settings) == 1}
    first, *others = seeds
    points = [point for name, setting in detailed.items() for point in _swept(name, setting, first, MAIN_ATTACKS)]
    small = {name: setting for name, setting in detailed.items() if setting.classes < _MANY}
    points += [point for name, setting in detailed.items() for point in _trained_parts(name, setting, first)]
    for seed in others:
        points += [point for name, setting in small.items() for point in _swept(name, setting, seed, MAIN_ATTACKS)]
    for seed in seeds:
        points += [point for name, setting in settings.items() for point in _swept(name, setting, seed, (SHAM,))]
    kept = [
        point
        for point in points
        if not (settings[point.setting].classes == 2 and point.attack in _SAME_WITH_TWO_CLASSES)
    ]
    return list(dict.fromkeys(kept))


def weights_of(setting: Setting) -> Weights:
    """Return the weights of the map loss for a setting."""
    return _LARGE if setting.classes >= _MANY else _SMALL


def _quick(name: str, setting: Setting, seed: int) -> Iterator[Point]:
    yield Point(name, seed, setting.trained_parts[0], NO_ATTACK, 0.0)
    yield Point(name, seed, setting.trained_parts[0], SHAM, weights_of(setting).sham[1])


def _swept(name: str, setting: Setting, seed: int, attacks: Sequence[str]) -> Iterator[Point]:
    """SHAM on the true class with every weight, other attacks with some."""
    part, weights = setting.trained_parts[0], weights_of(setting)
    yield Point(name, seed, part, NO_ATTACK, 0.0)
    for attack in attacks:
        chosen = weights.sham if attack == SHAM else weights.others
        yield from (Point(name, seed, part, attack, weight) for weight in chosen)


def _trained_parts(name: str, setting: Setting, seed: int) -> Iterator[Point]:
    """Injection; SHAM with one weight for each part that can be trained; the attack on the equivariant part."""
    weight = weights_of(setting).middle
    # Injection needs a head that a user's model may not have.
    if name in _IN_DETAIL:
        yield Point(name, seed, setting.trained_parts[0], INJECTION, 0.0)
    for part in setting.trained_parts[1:]:
        yield Point(name, seed, part, NO_ATTACK, 0.0)
        yield Point(name, seed, part, SHAM, weight)
    if "all" in setting.trained_parts and setting.classes < _MANY:
        yield Point(name, seed, "all", NO_ATTACK, 0.0)
        yield Point(name, seed, "all", AGAINST_EQUIVARIANT, weight)
