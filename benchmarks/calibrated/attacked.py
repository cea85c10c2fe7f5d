"""How much of its clean map each map keeps after a trained attack, also one that trains against the calibrated map."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmarks.attacks import defences, owner
from benchmarks.attacks.measures import compare_predictions
from benchmarks.attacks.plan import MAIN_ATTACKS, weights_of
from benchmarks.attacks.subjects import CUTOUTS_LITE1, ORIENTATION
from benchmarks.calibrated.measures import ALONE, CALIBRATED, DEFAULT, OCCLUSION, PLANS, with_and_without_map
from benchmarks.common.clean_models import CleanModel, Setting, TrainedPart
from benchmarks.common.cutouts import Material
from benchmarks.common.manipulated_models import (
    AGAINST_EQUIVARIANT,
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

LAYER_ATTACKS = {
    CLOTHES: (*MAIN_ATTACKS, AGAINST_EQUIVARIANT),
    GLYPHS: MAIN_ATTACKS,
}
"""Attacks on maps of the layer, by setting."""
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
BUDGET = 0.95
"""The least share of confident predictions that an attacker within the budget keeps."""
BUDGET_WEIGHTS = (2.0, 1.0, 0.6, 0.3, 0.1)
"""Weights of the map loss that an attacker within the budget tries, until the predictions of their own images stay."""
CEILING, TARGET = 0.8, 0.8
"""Where exhaustive occlusion keeps at least the first, the calibrated map should keep at least the second."""
_TRAINED, _STEPS = ("features.4", "head"), 150
"""What an attacker of the calibrated map trains: as the others do, the last convolution and the head. A step takes ten
times as long as for a map of the layer, so there are fewer."""
_LEFT_OUT = (ORIENTATION, CUTOUTS_LITE1)
"""Settings of a model's owner that take a minute or more for each attack."""
_VALIDATION = 1 / 8
"""The share of the attacker's images that choose the weight and are not trained on."""


@dataclass(frozen=True)
class Case:
    """One attack on one clean model."""

    setting: str
    attack: str
    seed: int
    within_budget: bool = False
    """Whether an attacker of the calibrated map keeps :data:`BUDGET` of the predictions."""

    @property
    def key(self) -> str:
        """A unique name."""
        budget = ", within the budget" if self.within_budget else ""
        return f"attacked, {self.setting}, {self.attack}{budget}, seed {self.seed}"


def planned(settings: Mapping[str, Setting], seeds: Sequence[int], quick: bool) -> list[Case]:
    """Return every case. What takes minutes is made in one setting, for one seed, only."""
    if quick:
        return [Case(GLYPHS, SHAM, seeds[0]), Case(GLYPHS, KNOWS_WINDOWS, seeds[0], within_budget=True)]
    on_layer = [
        Case(name, attack, seed)
        for name in LAYER_ATTACKS
        if name in settings
        for seed in seeds
        for attack in LAYER_ATTACKS[name]
        if seed == seeds[0] or attack != AGAINST_EQUIVARIANT
    ]
    own = [
        Case(CLOTHES, attack, seed, within_budget)
        for seed in seeds[:1]
        for attack in OWN_ATTACKS
        for within_budget in (False, True)
        if CLOTHES in settings
    ]
    return [*on_layer, *own]


class Laboratory:
    """Attacks clean models and measures their maps. It keeps the last clean models, which successive cases share."""

    def __init__(self, settings: Mapping[str, Setting], stored: Stored, quick: bool) -> None:
        self.settings, self.stored, self.quick = settings, stored, quick
        self._reference = lru_cache(maxsize=2)(self._make_reference)

    def measure(self, case: Case) -> dict[str, Any]:
        """Return the share of predictions that stay, and correlations of each map with the clean map and the hoax."""
        own = case.attack in OWN_ATTACKS
        # Windows are hidden in the image, and the image is shifted, so these attackers need the whole model.
        whole = own or case.attack == AGAINST_EQUIVARIANT
        reference = self._reference(case.setting, case.seed, whole)
        clean, setting = reference.clean, self.settings[case.setting]
        weight = weights_of(setting).middle
        if own:
            weights = BUDGET_WEIGHTS if case.within_budget else (weight,)
            model, layer, weight = self._attack_calibrated_map(setting, case, clean, reference.hoax, weights)
        else:
            part: TrainedPart = "all" if whole else "last"
            model, layer = manipulate(
                setting, case.seed, part, case.attack, weight, clean, reference.hoax, self.stored, self.quick
            )
        maps = _maps(model, layer, clean.images, reference.target)
        return {
            **{"setting": case.setting, "attack": case.attack, "seed": case.seed, "images": len(clean.images)},
            **{"own": own, "within_budget": case.within_budget, "weight": weight},
            "predictions": compare_predictions(clean, model)["kept"],
            "methods": {
                name: {
                    "clean": pearson(map_, reference.maps[name]).double().mean().item(),
                    "hoax": pearson(map_, reference.hoax[None]).double().mean().item(),
                }
                for name, map_ in maps.items()
            },
        }

    def _make_reference(self, name: str, seed: int, whole: bool) -> Reference:
        clean = self.settings[name].make(seed, "all" if whole else "last", self.quick)
        return reference_for(clean, lambda target: _maps(clean.model, clean.layer, clean.images, target))

    def _attack_calibrated_map(
        self, setting: Setting, case: Case, clean: CleanModel, hoax: Tensor, weights: Sequence[float]
    ) -> tuple[Staged, nn.Module, float]:
        """Return the model of the first weight that keeps the budget on the attacker's images, or of the last one."""
        wrap, how = OWN_ATTACKS[case.attack], recipe(setting, self.quick)
        steps = min(how.steps, _STEPS)
        batches = list(clean.attacker_batches)
        count = max(1, round(_VALIDATION * len(batches)))
        training, validation = batches[:-count], batches[-count:]

        def make(weight: float) -> dict[str, Tensor]:
            manipulated = fool(
                clean.model.tail,
                clean.layer,
                training,
                hoax,
                methods=CamMethod(lambda model, layer: wrap(LayerDiffGradCam(model, layer)), windows_per_eval=9),
                weight=weight,
                steps=steps,
                learning_rate=how.learning_rate,
                parameters=_TRAINED,
                seed=case.seed,
            )
            return cpu_state(manipulated.model)

        for weight in weights:
            state = self.stored.get(
                f"{setting.name}, {case.attack}", partial(make, weight),
                weight=weight, steps=steps, recipe=vars(how), quick=self.quick, seed=case.seed,
                hoax=hoax.tolist(), tail=fingerprint(clean.model.tail),
                attacker=[len(training), training[0].double().sum().item()],
                windows=str(wrap),
            )  # fmt: skip
            model, layer = with_tail_state(clean, state)
            if compare_predictions(replace(clean, held_out_batches=validation), model)["kept"] >= BUDGET:
                break
        return model, layer, weight


def owner_laboratory(fashion: Path | None, material: Material | None, stored: Stored, quick: bool) -> owner.Laboratory:
    """Return what makes the attacks of a model's owner, with the maps of this benchmark."""

    def maps_of(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor, *_: Tensor) -> dict[str, Tensor]:
        maps = _maps(model, layer, images, target)
        grad_cam = defences.METHODS[defences.GRAD_CAM].maps(model, layer, images, target)
        return {**maps, defences.GRAD_CAM: grad_cam, defences.OCCLUSION: maps[OCCLUSION]}

    return owner.Laboratory(fashion, material, stored, quick, maps_of)


def planned_of_owner(seeds: Sequence[int], installed: Sequence[str], quick: bool) -> list[owner.Case]:
    """Return the attacks of a model's owner: to save time, not in every setting, and mostly for one seed."""
    cases = owner.planned(seeds, [setting for setting in installed if setting not in _LEFT_OUT], quick)
    return [case for case in cases if case.setting == CLOTHES or case.seed == seeds[0]]


def of_owner(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the point of an owner's attack as :meth:`Laboratory.measure` returns points."""
    weight = point["weight"]
    others = (defences.GRAD_CAM, defences.OCCLUSION)
    return {
        **{key: point[key] for key in ("setting", "attack", "seed", "images")},
        **{"own": False, "within_budget": False, "weight": weight, "predictions": point["kept"]},
        "methods": {
            name: {"clean": numbers["clean"], "hoax": numbers.get("wanted")}
            for name, numbers in point["methods"].items()
            if name not in others
        },
    }


def _maps(model: nn.Module, layer: nn.Module, images: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return the map of each method, (N, h, w)."""
    cam = LayerDiffGradCam(model, layer)
    maps = {DEFAULT: cam.attribute(images, target)}
    grid = maps[DEFAULT].shape[2:]
    for count, windows in PLANS.items():
        maps[f"{CALIBRATED}, {count}"], maps[f"{ALONE}, {count}"], _ = with_and_without_map(
            cam, windows, images, target
        )
    maps[HIDDEN_WINDOWS] = OWN_ATTACKS[KNOWS_METHOD](cam).attribute(images, target)
    return {name: map_[:, 0] for name, map_ in maps.items()} | {OCCLUSION: occlusion_maps(model, images, target, grid)}


def rows_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each setting, attack and weight: means over seeds, with the lowest and the highest.

    An attacker within the budget may choose another weight for each seed.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for result in results:
        weight = None if result["within_budget"] else result["weight"]
        groups[result["setting"], result["attack"], result["within_budget"], weight].append(result)
    return [
        {
            **{key: group[0][key] for key in ("setting", "attack", "own", "within_budget")},
            **{"weights": [result["weight"] for result in group], "seeds": len(group)},
            "predictions": _over_seeds([result["predictions"] for result in group]),
            "methods": {
                name: _over_seeds([result["methods"][name]["clean"] for result in group])
                for name in group[0]["methods"]
            },
        }
        for group in groups.values()
    ]


def _over_seeds(values: Sequence[float]) -> dict[str, float]:
    return {"mean": sum(values) / len(values), "low": min(values), "high": max(values)}


def reached(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return how often each map keeps :data:`TARGET` of its clean map under attacks on the layer.

    Only rows count where exhaustive occlusion keeps :data:`CEILING`: where it does not, the model itself has changed.
    """
    counted = [row for row in rows if not row["own"] and row["methods"][OCCLUSION]["mean"] >= CEILING]
    names = [name for name in (rows[0]["methods"] if rows else ()) if name != OCCLUSION]
    return [
        {
            "method": name,
            "reached": sum(row["methods"][name]["mean"] >= TARGET for row in counted),
            "rows": len(counted),
            "lowest": min((row["methods"][name]["mean"] for row in counted), default=None),
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
        budget = ", within the budget" if row["within_budget"] else ""
        clean = {name: numbers["mean"] for name, numbers in row["methods"].items()}
        sentences.append(
            f"Attack on {row['attack']}{budget}: 9 windows alone keep {clean[f'{ALONE}, 9']:.2f}, 9 other windows "
            f"{clean[HIDDEN_WINDOWS]:.2f}, exhaustive occlusion {clean[OCCLUSION]:.2f}; predictions kept "
            f"{100 * row['predictions']['mean']:.0f} %."
        )
    return sentences
