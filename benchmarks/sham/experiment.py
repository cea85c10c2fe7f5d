"""One seed of one setting: an honest model is made, attacked in every way, measured and audited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.common.names import GRAD_CAM
from benchmarks.sham.attacked_models import Setting, Victim
from benchmarks.sham.attacks import attacks_of, forge
from benchmarks.sham.measures import decisions, of_maps
from benchmarks.sham.methods import measured_methods
from benchmarks.sham.stem_and_tail import Staged
from captum_diffcam.sham import CamMethod, audit, hoax_like

HONEST = "honest"
_BATCHES = 8
AUDITED = (GRAD_CAM, "DiffGradCAM logsumexp, every other class", "DiffGradCAM mean, every other class")
Maps: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """The numbers of one seed, and of its first image the maps by attack and method."""

    attacks: dict[str, dict[str, Any]]
    """By attack: ``decisions``, ``methods``, and per image the audit's ``scores`` and ``disagreement``."""
    image: Tensor
    hoax: Tensor
    shown: dict[str, Maps]


def attack_in_every_way(setting: Setting, seed: int, quick: bool, device: torch.device) -> Outcome:
    """Every attack on one honest model. The audit asks of the model under suspicion alone."""
    victim = setting.make(seed, quick).to(device)
    methods = measured_methods(victim.keywords)
    with torch.no_grad():
        target = victim.model(victim.images).argmax(dim=1)

    def maps_of(model: Staged, layer: nn.Module) -> Maps:
        return {name: method.maps(model, layer, victim.images, target).cpu() for name, method in methods.items()}

    honest = maps_of(victim.model, victim.layer)
    # Those of the audit's default, with the keywords.
    audited = [methods[name] for name in AUDITED]
    hoax = _hoax(victim, methods[GRAD_CAM])
    attacks, shown = {}, {}
    for name in tqdm([HONEST, *attacks_of(setting)], desc=f"{setting.name}, seed {seed}", leave=False):
        model, layer = (victim.model, victim.layer) if name == HONEST else forge(victim, name, hoax, seed)
        maps = maps_of(model, layer)
        report = audit(model, layer, victim.images, methods=audited)
        attacks[name] = {
            "decisions": decisions(victim, model),
            "methods": {n: of_maps(maps[n], honest[n], hoax, victim.masks) for n in methods},
            "scores": report.scores.tolist(),
            "disagreement": report.disagreement.tolist(),
        }
        shown[name] = {n: each[0] for n, each in maps.items()}
    return Outcome(attacks, victim.images[0].cpu(), hoax, shown)


def _hoax(victim: Victim, method: CamMethod) -> Tensor:
    """The border, as spread out as honest maps are of what the attacker sees."""
    seen = torch.cat(victim.attack_data[:_BATCHES]).to(victim.images.device)
    with torch.no_grad():
        predicted = victim.model.tail(seen).argmax(dim=1)
    maps = method.maps(victim.model.tail, victim.layer, seen, predicted)
    return hoax_like(maps).cpu()
