"""One point: an honest model, forged once, and measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.attacks.measures import decisions, of_maps
from benchmarks.attacks.methods import measured_methods
from benchmarks.attacks.points import HONEST, Point
from benchmarks.common.forging import forge, honest_hoax
from benchmarks.common.stem_and_tail import Staged
from benchmarks.common.stored import Stored
from benchmarks.common.victims import Reach, Setting, Victim


@dataclass(frozen=True)
class Subject:
    """A victim, with what every attack on it is held against."""

    victim: Victim
    hoax: Tensor
    target: Tensor
    honest: dict[str, Tensor]


class Laboratory:
    """Makes and measures points; keeps the subjects that it worked on last, of which the next point mostly is."""

    def __init__(self, settings: Mapping[str, Setting], stored: Stored, quick: bool, device: torch.device) -> None:
        self.settings, self.stored, self.quick, self.device = settings, stored, quick, device
        self.subject = lru_cache(maxsize=3)(self._subject)

    def measure(self, point: Point) -> dict[str, Any]:
        """Everything that is reported of a point."""
        setting = self.settings[point.setting]
        subject = self.subject(point.setting, point.seed, point.trained)
        victim = subject.victim
        model, layer = victim.model, victim.layer
        if point.attack != HONEST:
            model, layer = forge(
                setting,
                point.seed,
                point.trained,
                point.attack,
                point.weight,
                victim,
                subject.hoax,
                self.stored,
                self.quick,
            )
        maps = subject.honest if point.attack == HONEST else _maps(victim, model, layer, subject.target)
        return {
            **point.told(),
            "predictions": decisions(victim, model),
            "methods": of_maps(maps, subject.honest, subject.hoax, victim.masks),
        }

    def _subject(self, name: str, seed: int, reach: Reach) -> Subject:
        victim = self.settings[name].make(seed, reach, self.quick).to(self.device)
        with torch.no_grad():
            target = victim.model(victim.images).argmax(dim=1)
        return Subject(victim, honest_hoax(victim), target, _maps(victim, victim.model, victim.layer, target))


def _maps(victim: Victim, model: Staged, layer: nn.Module, target: Tensor) -> dict[str, Tensor]:
    return {
        name: maps_of(model, layer, victim.images, target).cpu() for name, maps_of in measured_methods(victim).items()
    }
