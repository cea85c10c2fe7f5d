"""What is measured, in which order: the most telling points first, so that a run that is stopped has said the most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.common.forging import ADAPTIVE, AGAINST_MOVING, AT_ONCE, INJECTION, SHAM, SHAM_ALL
from benchmarks.common.victims import Reach, Setting

HONEST = "none"
WEIGHTS = {1000: (0.02, 0.1, 0.5, 2.0, 10.0)}
_SMALL_WEIGHTS = (0.1, 0.5, 3.0, 20.0, 100.0)
_COARSE = (2, 4, 1)
"""Of the five, those that come first: the middle, the hardest, and a light one."""
_FEW_CLASSES = 10
_IN_DETAIL = ("cut-outs, 1000 classes", "Fashion-MNIST, 10 classes", "glyphs, 10 classes")
MAIN_ATTACKS = (SHAM, SHAM_ALL, ADAPTIVE["logsumexp"], ADAPTIVE["mean"], AT_ONCE)


@dataclass(frozen=True)
class Point:
    """One forgery to make and measure."""

    setting: str
    seed: int
    reach: Reach
    attack: str
    weight: float

    @property
    def key(self) -> str:
        """Its name, of which there is one."""
        return f"{self.setting}, seed {self.seed}, {self.reach}, {self.attack}, {self.weight:g}"

    def told(self) -> dict[str, Any]:
        """As it is written."""
        return asdict(self)


def planned(settings: Mapping[str, Setting], seeds: list[int], quick: bool) -> list[Point]:
    """Every point, in order."""
    points = list(dict.fromkeys(_quick(settings, seeds) if quick else _waves(settings, seeds)))
    # An adaptive attack on two classes is one attack, whatever the reduction.
    return [point for point in points if not (settings[point.setting].classes == 2 and point.attack in _DOUBLE)]


_DOUBLE = (ADAPTIVE["mean"], ADAPTIVE["max"])


def weights_of(setting: Setting) -> tuple[float, ...]:
    return WEIGHTS.get(setting.classes, _SMALL_WEIGHTS)


def _quick(settings: Mapping[str, Setting], seeds: list[int]) -> Iterator[Point]:
    for name, setting in settings.items():
        if name in _IN_DETAIL or len(settings) == 1:
            yield Point(name, seeds[0], setting.reaches[0], HONEST, 0.0)
            yield Point(name, seeds[0], setting.reaches[0], SHAM, weights_of(setting)[3])


def _waves(settings: Mapping[str, Setting], seeds: list[int]) -> Iterator[Point]:
    detailed = {name: setting for name, setting in settings.items() if name in _IN_DETAIL or len(settings) == 1}

    def sweep(
        some: Mapping[str, Setting], seed: int, attacks: tuple[str, ...], which: tuple[int, ...]
    ) -> Iterator[Point]:
        for name, setting in some.items():
            reach = setting.reaches[0]
            yield Point(name, seed, reach, HONEST, 0.0)
            for attack in attacks:
                yield from (Point(name, seed, reach, attack, weights_of(setting)[i]) for i in which)

    first, *others = seeds
    small = {name: setting for name, setting in settings.items() if setting.classes <= _FEW_CLASSES}
    yield from sweep(detailed, first, (SHAM,), _COARSE)
    yield from sweep(small, first, (SHAM,), _COARSE[:2])
    yield from sweep(detailed, first, MAIN_ATTACKS[1:], _COARSE[:1])
    for name, setting in detailed.items():
        if "all" in setting.reaches:
            yield Point(name, first, "all", HONEST, 0.0)
            yield from (Point(name, first, "all", attack, weights_of(setting)[2]) for attack in (SHAM, AGAINST_MOVING))
    for seed in others:
        yield from sweep(detailed, seed, (SHAM,), _COARSE)
    for seed in seeds:
        yield from sweep(detailed, seed, MAIN_ATTACKS, _COARSE)
    for name, setting in settings.items():
        yield from (Point(name, first, reach, HONEST, 0.0) for reach in setting.reaches)
        yield from (Point(name, first, reach, SHAM, weights_of(setting)[2]) for reach in setting.reaches)
        yield Point(name, first, setting.reaches[0], INJECTION, 0.0)
    for seed in seeds:
        yield from sweep(settings, seed, MAIN_ATTACKS, tuple(range(5)))
