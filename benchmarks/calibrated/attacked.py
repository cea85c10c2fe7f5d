"""How much of its clean map each map keeps after a trained attack, also one that trains against the calibrated map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.calibrated.measures import ALONE, CALIBRATED, DEFAULT, OCCLUSION, PLANS, with_and_without_map
from benchmarks.common.clean_models import CONFIDENT, CleanModel, Setting
from benchmarks.common.manipulated_models import (
    ADAPTIVE,
    AT_ONCE,
    LOGSUMEXP,
    MEAN,
    SHAM,
    Reference,
    cpu_state,
    manipulate,
    recipe,
    reference_for,
    with_tail_state,
)
from benchmarks.common.names import CLOTHES, GLYPHS
from benchmarks.common.occlusion import occlusion_maps
from benchmarks.common.staged import Staged
from benchmarks.common.stored import Stored, fingerprint
from captum_diffcam import CalibratedMap, CamMethod, LayerDiffGradCam
from captum_diffcam.attacks import fool
from captum_diffcam.metrics import pearson
from captum_diffcam.occlusion import grid_windows

SETTINGS = (CLOTHES, GLYPHS)
LAYER_ATTACKS = (SHAM, ADAPTIVE[LOGSUMEXP], ADAPTIVE[MEAN], AT_ONCE)
"""Attacks on maps of the layer: on Grad-CAM, two reductions, and all three in turn."""
KNOWS_WINDOWS, KNOWS_ALL = "windows alone, knows the windows", "calibrated map, knows the windows"
KNOWS_METHOD = "windows alone, knows the method"
OWN_ATTACKS: dict[str, Callable[..., CalibratedMap]] = {
    KNOWS_WINDOWS: partial(CalibratedMap[Tensor], use_map=False),
    KNOWS_ALL: CalibratedMap[Tensor],
    KNOWS_METHOD: partial(CalibratedMap[Tensor], windows=3, sizes=[1 / 3], fill="mean", use_map=False),
}
"""Attacks on the calibrated map: what the attacker trains against. The last one guesses windows and fill, wrongly."""
HIDDEN_WINDOWS = "windows alone, 9 others"
"""Windows and a fill that an attacker who knows the default ones has not trained against."""
WEIGHT = 3.0
"""The weight of the map loss: the middle one of the benchmark of attacks."""
CEILING, TARGET = 0.8, 0.8
"""Where exhaustive occlusion keeps at least the first, the calibrated map should keep at least the second."""
_TRAINED, _STEPS = ("features.4", "head"), 150
"""What an attacker of the calibrated map trains: as the others do, the last convolution and the head. A step takes ten
times as long as for a map of the layer, so there are fewer."""


@dataclass(frozen=True)
class Case:
    """One attack on one clean model."""

    setting: str
    attack: str
    seed: int

    @property
    def key(self) -> str:
        """A unique name."""
        return f"attacked, {self.setting}, {self.attack}, seed {self.seed}"


def planned(settings: Mapping[str, Setting], seeds: Sequence[int], quick: bool) -> list[Case]:
    """Return every case. Attacks on the calibrated map take minutes, so they are made in the first setting only."""
    if quick:
        return [Case(GLYPHS, attack, seeds[0]) for attack in (SHAM, KNOWS_WINDOWS)]
    names = [name for name in SETTINGS if name in settings]
    return [
        Case(name, attack, seed)
        for name in names
        for seed in seeds
        for attack in (*LAYER_ATTACKS, *(OWN_ATTACKS if name == CLOTHES else ()))
    ]


class Laboratory:
    """Attacks clean models and measures their maps. It keeps the last clean models, which successive cases share."""

    def __init__(self, settings: Mapping[str, Setting], stored: Stored, quick: bool) -> None:
        self.settings, self.stored, self.quick = settings, stored, quick
        self._reference = lru_cache(maxsize=2)(self._make_reference)

    def measure(self, case: Case) -> dict[str, Any]:
        """Return the share of predictions that stay, and correlations of each map with the clean map and the hoax."""
        own = case.attack in OWN_ATTACKS
        reference = self._reference(case.setting, case.seed, own)
        clean, setting = reference.clean, self.settings[case.setting]
        if own:
            model, layer = self._attack_calibrated_map(setting, case, clean, reference.hoax)
        else:
            model, layer = manipulate(
                setting, case.seed, "last", case.attack, WEIGHT, clean, reference.hoax, self.stored, self.quick
            )
        maps = _maps(model, layer, clean.images, reference.target)
        return {
            **{"setting": case.setting, "attack": case.attack, "seed": case.seed, "images": len(clean.images)},
            "predictions": _predictions_kept(clean, model),
            "methods": {
                name: {
                    "clean": pearson(map_, reference.maps[name]).double().mean().item(),
                    "hoax": pearson(map_, reference.hoax[None]).double().mean().item(),
                }
                for name, map_ in maps.items()
            },
        }

    def _make_reference(self, name: str, seed: int, own: bool) -> Reference:
        # Windows are hidden in the image, so an attacker of the calibrated map needs the whole model.
        clean = self.settings[name].make(seed, "all" if own else "last", self.quick)
        return reference_for(clean, lambda target: _maps(clean.model, clean.layer, clean.images, target))

    def _attack_calibrated_map(
        self, setting: Setting, case: Case, clean: CleanModel, hoax: Tensor
    ) -> tuple[Staged, nn.Module]:
        wrap, how = OWN_ATTACKS[case.attack], recipe(setting, self.quick)
        steps = min(how.steps, _STEPS)

        def make() -> dict[str, Tensor]:
            manipulated = fool(
                clean.model.tail,
                clean.layer,
                clean.attacker_batches,
                hoax,
                methods=CamMethod(lambda model, layer: wrap(LayerDiffGradCam(model, layer)), windows_per_eval=9),
                weight=WEIGHT,
                steps=steps,
                learning_rate=how.learning_rate,
                parameters=_TRAINED,
                seed=case.seed,
            )
            return cpu_state(manipulated.model)

        state = self.stored.get(
            case.key, make,
            weight=WEIGHT, steps=steps, recipe=vars(how), quick=self.quick,
            hoax=hoax.tolist(), tail=fingerprint(clean.model.tail),
            attacker=[len(clean.attacker_batches), clean.attacker_batches[0].double().sum().item()],
            windows=str(wrap),
        )  # fmt: skip
        return with_tail_state(clean, state)


def _maps(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return the map of each method, (N, h, w)."""
    cam = LayerDiffGradCam(model, layer)
    maps = {DEFAULT: cam.attribute(images, target)}
    grid = maps[DEFAULT].shape[2:]
    for count, plan in PLANS.items():
        windows = grid_windows(2, *plan)
        maps[f"{CALIBRATED}, {count}"], maps[f"{ALONE}, {count}"], _ = with_and_without_map(
            cam, windows, images, target
        )
    maps[HIDDEN_WINDOWS] = OWN_ATTACKS[KNOWS_METHOD](cam).attribute(images, target)
    return {name: map_[:, 0] for name, map_ in maps.items()} | {OCCLUSION: occlusion_maps(model, images, target, grid)}


def _predictions_kept(clean: CleanModel, manipulated: Staged) -> float:
    """Return the share of confident predictions that the manipulated model keeps."""
    with torch.no_grad():
        before, after = (
            torch.cat([model.tail(batch) for batch in clean.held_out_batches]) for model in (clean.model, manipulated)
        )
    confident = before.softmax(dim=1).amax(dim=1) >= CONFIDENT
    confident = confident if confident.any() else torch.ones_like(confident)
    return (before.argmax(dim=1) == after.argmax(dim=1))[confident].double().mean().item()


def rows_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each setting and attack: means over seeds, with the lowest and the highest."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["setting"], result["attack"]].append(result)
    return [
        {
            **{"setting": setting, "attack": attack, "seeds": len(group), "own": attack in OWN_ATTACKS},
            "predictions": _over_seeds([result["predictions"] for result in group]),
            "methods": {
                name: {key: _over_seeds([result["methods"][name][key] for result in group]) for key in numbers}
                for name, numbers in group[0]["methods"].items()
            },
        }
        for (setting, attack), group in groups.items()
    ]


def _over_seeds(values: Sequence[float]) -> dict[str, float]:
    return {"mean": sum(values) / len(values), "low": min(values), "high": max(values)}


def reached(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return how often each map keeps :data:`TARGET` of its clean map under attacks on the layer.

    Only rows count where exhaustive occlusion keeps :data:`CEILING`: where it does not, the model itself has changed.
    """
    counted = [row for row in rows if not row["own"] and row["methods"][OCCLUSION]["clean"]["mean"] >= CEILING]
    names = [name for name in (rows[0]["methods"] if rows else ()) if name != OCCLUSION]
    return [
        {
            "method": name,
            "reached": sum(row["methods"][name]["clean"]["mean"] >= TARGET for row in counted),
            "rows": len(counted),
            "lowest": min((row["methods"][name]["clean"]["mean"] for row in counted), default=None),
        }
        for name in names
    ]


def verdict(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how many rows reach the target, and what attacks on the calibrated map itself leave of the maps."""
    kept = {row["method"]: row for row in reached(rows)}
    sentences = []
    if kept:
        shown = ", ".join(f"{name} {kept[name]['reached']}" for name in (DEFAULT, f"{CALIBRATED}, 9", f"{ALONE}, 9"))
        sentences.append(
            f"Of {kept[DEFAULT]['rows']} attacks on maps of the layer that leave exhaustive occlusion at {CEILING} or "
            f"more, so many leave a map at {TARGET} or more: {shown}."
        )
    for row in (row for row in rows if row["own"]):
        clean = {name: numbers["clean"]["mean"] for name, numbers in row["methods"].items()}
        sentences.append(
            f"Attack on {row['attack']}: 9 windows alone keep {clean[f'{ALONE}, 9']:.2f}, 9 other windows "
            f"{clean[HIDDEN_WINDOWS]:.2f}, exhaustive occlusion {clean[OCCLUSION]:.2f}; predictions kept "
            f"{100 * row['predictions']['mean']:.0f} %."
        )
    return sentences
