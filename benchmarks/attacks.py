"""The attacks: injection, SHAM, the losses of Heo et al., and attackers who know the contrastive maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from captum.attr import LayerGradCam
from torch import Tensor, nn

from benchmarks.methods import FAMILIES, GRAD_CAM, GRAD_CAM_PLUS_PLUS, REDUCTIONS
from benchmarks.staged import Staged
from benchmarks.victims import Setting, Victim
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, top_rivals
from captum_diffcam.sham import CamMethod, Forgery, fool, inject_hoax

_VARIANTS = (
    *(("every other class", None, reduction) for reduction in REDUCTIONS),
    ("top 5 rivals", top_rivals(5), "logsumexp"),
    ("top 5 rivals", top_rivals(5), "mean"),
    # Of a single rival all reductions are the same.
    ("strongest rival", top_rivals(1), "logsumexp"),
)


def measured_methods(keywords: Mapping[str, Any]) -> dict[str, CamMethod]:
    """Every method that is attacked or measured, by name; keywords are arguments of all of them."""
    # Captum lacks Grad-CAM++; ours is just that with an empty contrast set.
    methods = {
        GRAD_CAM: CamMethod(LayerGradCam, **keywords),
        GRAD_CAM_PLUS_PLUS: CamMethod(LayerDiffGradCamPlusPlus, contrast=[], **keywords),
    }
    for plain, attribution in ((GRAD_CAM, LayerDiffGradCam), (GRAD_CAM_PLUS_PLUS, LayerDiffGradCamPlusPlus)):
        for label, contrast, reduction in _VARIANTS:
            method = CamMethod(attribution, contrast=contrast, reduction=reduction, **keywords)
            methods[f"{FAMILIES[plain]} {reduction}, {label}"] = method
    return methods


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
