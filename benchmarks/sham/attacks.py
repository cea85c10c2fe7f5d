"""The attacks: injection, SHAM, the losses of Heo et al., and attackers who know the contrastive maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from benchmarks.common.names import GRAD_CAM, REDUCTIONS
from benchmarks.sham.attacked_models import Setting, Victim
from benchmarks.sham.methods import measured_methods
from benchmarks.sham.stem_and_tail import Staged
from captum_diffcam.sham import Forgery, fool, inject_hoax


@dataclass(frozen=True)
class Attack:
    """What distinguishes one fine-tuning from another."""

    targets: Sequence[str] = (GRAD_CAM,)
    """Names of the attacked methods, of which several take turns."""
    options: Mapping[str, Any] = field(default_factory=dict)
    harder: float = 1.0
    """Weight of the map loss, as a multiple of the recipe's: losses differ in scale."""
    longer: int = 1
    """Steps, as a multiple of the recipe's."""
    thorough: bool = False
    """Whether it is left out where time is short."""


_EVERY = "DiffGradCAM {}, every other class"
CONTROL, INJECTION = "none (control)", "injection"
ATTACKS: dict[str, Attack] = {
    # Decisions alone, which are the model's own: the honest model has to come back.
    CONTROL: Attack(harder=0.0),
    "SHAM, true class": Attack(longer=2),
    "SHAM, all classes": Attack(options={"classes": "all"}, thorough=True),
    "location (Heo et al.)": Attack(options={"map_loss": "location"}, harder=10.0, thorough=True),
    "top-k (Heo et al.)": Attack(options={"map_loss": "top_k"}, harder=3.0, thorough=True),
    "centre-mass (Heo et al.)": Attack(options={"map_loss": "centre_mass"}, harder=0.3, thorough=True),
    **{f"adaptive, {each}": Attack([_EVERY.format(each)], thorough=each != "logsumexp") for each in REDUCTIONS},
    "adaptive, all at once": Attack([GRAD_CAM, *map(_EVERY.format, REDUCTIONS)], longer=2),
}


def attacks_of(setting: Setting) -> list[str]:
    """The names of the attacks that a setting has time and a fitting model for."""
    trained = [name for name, attack in ATTACKS.items() if setting.thorough or not attack.thorough]
    return [*([INJECTION] if setting.injectable else []), *trained]


def forge(victim: Victim, name: str, hoax: Tensor, seed: int) -> tuple[Staged, nn.Module]:
    """The victim after an attack, and its layer."""
    tail = victim.model.tail
    forgery: Forgery
    if name == INJECTION:
        forgery = inject_hoax(tail, victim.layer, hoax)
    else:
        attack, recipe = ATTACKS[name], victim.recipe
        methods = measured_methods(victim.keywords)
        forgery = fool(
            tail,
            victim.layer,
            victim.attack_data,
            hoax,
            methods=[methods[target] for target in attack.targets],
            weight=recipe.weight * attack.harder,
            steps=recipe.steps * attack.longer,
            learning_rate=recipe.learning_rate,
            seed=seed,
            **attack.options,
        )
    return Staged(victim.model.stem, forgery.model).eval(), forgery.layer
