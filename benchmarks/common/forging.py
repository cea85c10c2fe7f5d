"""The attacks as recipes: what is aimed at, how hard and how long. Found on other seeds than any that is reported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from benchmarks.common.names import GRAD_CAM
from benchmarks.common.stem_and_tail import Staged
from benchmarks.common.stored import Stored
from benchmarks.common.victims import FIRST, Reach, Setting, Victim
from captum_diffcam import CamMethod, EquivariantPart, LayerDiffGradCam
from captum_diffcam.attacks import ManipulatedModel, fool, hoax_like, inject_hoax

LOGSUMEXP, MEAN, MAX = "logsumexp", "mean", "max"
MOVING = "equivariant part of logsumexp"
_NEIGHBOURS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


def attacked_methods(victim: Victim) -> dict[str, CamMethod]:
    """What an attacker may aim at, by name, for the layout of a victim."""
    keywords = victim.keywords
    # Captum's knows no layouts; ours without a contrast is the same.
    plain = CamMethod(LayerGradCam, **keywords)
    if victim.constructor:
        plain = CamMethod(partial(LayerDiffGradCam, **victim.constructor), contrast=[], **keywords)
    ours: Callable[..., LayerAttribution] = partial(LayerDiffGradCam, **victim.constructor)

    def moving(model: nn.Module, layer: nn.Module) -> EquivariantPart:
        return EquivariantPart(ours(model, layer), _NEIGHBOURS)

    return {
        GRAD_CAM: plain,
        **{name: CamMethod(ours, reduction=name, **keywords) for name in (LOGSUMEXP, MEAN, MAX)},
        MOVING: CamMethod(moving, shifts_per_eval=len(_NEIGHBOURS), **keywords),
    }


@dataclass(frozen=True)
class Attack:
    """What distinguishes one fine-tuning from another."""

    targets: Sequence[str] = (GRAD_CAM,)
    """Names of the attacked methods, of which several take turns."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of :func:`captum_diffcam.attacks.fool`."""
    on_images: bool = False
    """Whether it needs the images themselves and not what the stem makes of them."""


SHAM, SHAM_ALL = "SHAM, true class", "SHAM, all classes"
ADAPTIVE = {name: f"adaptive, {name}" for name in (LOGSUMEXP, MEAN, MAX)}
AT_ONCE, AGAINST_MOVING = "adaptive, all at once", "adaptive, equivariant part"
INJECTION = "injection"
ATTACKS: dict[str, Attack] = {
    SHAM: Attack(),
    SHAM_ALL: Attack(options={"classes": "all"}),
    "location (Heo et al.)": Attack(options={"map_loss": "location"}),
    "top-k (Heo et al.)": Attack(options={"map_loss": "top_k"}),
    "centre-mass (Heo et al.)": Attack(options={"map_loss": "centre_mass"}),
    **{attack: Attack([name]) for name, attack in ADAPTIVE.items()},
    AT_ONCE: Attack([GRAD_CAM, LOGSUMEXP, MEAN]),
    AGAINST_MOVING: Attack([MOVING], on_images=True),
}


@dataclass(frozen=True)
class Recipe:
    """How long and how fast."""

    steps: int
    learning_rate: float


QUICK = 12
_SMALL, _LARGE = Recipe(400, 3e-3), Recipe(400, 3e-4)
"""The rate for EfficientNet-Lite0 is the best of 1e-3, 3e-4 and 1e-4, on seed 100."""


def recipe(setting: Setting, quick: bool = False) -> Recipe:
    """For a kind of victim; the weight is what a study varies."""
    found = _LARGE if setting.classes == 1000 else _SMALL
    return Recipe(QUICK, found.learning_rate) if quick else found


def honest_hoax(victim: Victim) -> Tensor:
    """The border, as spread out as honest maps are of what the attacker sees."""
    seen = torch.cat(list(victim.seen[:FIRST])).to(victim.images.device)
    with torch.no_grad():
        predicted = victim.model.tail(seen).argmax(dim=1)
    maps = attacked_methods(victim)[GRAD_CAM].maps(victim.model.tail, victim.layer, seen, predicted)
    return hoax_like(maps).cpu()


def forge(
    setting: Setting,
    seed: int,
    reach: Reach,
    attack: str,
    weight: float,
    victim: Victim,
    hoax: Tensor,
    stored: Stored,
    quick: bool = False,
) -> tuple[Staged, nn.Module]:
    """The victim after an attack, and its layer. Made now or before.

    Args:
        setting: what the victim is of.
        seed: the victim's.
        reach: what is trained.
        attack: a name of :data:`ATTACKS`, or ``"injection"``.
        weight: of the map loss. None of its business in an injection.
        victim: the model and what the attacker sees.
        hoax: what the maps are to show.
        stored: where forgeries are kept.
        quick: a few steps only.
    """
    tail = victim.model.tail
    if attack == INJECTION:
        injected = inject_hoax(tail, victim.layer, hoax)
        return Staged(victim.model.stem, injected.model).eval(), injected.layer
    aimed, how = ATTACKS[attack], recipe(setting, quick)
    methods = attacked_methods(victim)

    def make() -> dict[str, Tensor]:
        forgery: ManipulatedModel = fool(
            victim.model if aimed.on_images else tail,
            victim.layer,
            victim.seen,
            hoax,
            methods=[methods[name] for name in aimed.targets],
            weight=weight,
            steps=how.steps,
            learning_rate=how.learning_rate,
            seed=seed,
            **aimed.options,
        )
        changed: Any = forgery.model
        return {key: value.cpu() for key, value in (changed.tail if aimed.on_images else changed).state_dict().items()}

    state = stored.get(
        f"{setting.name}, {attack}", make,
        seed=seed, reach=reach, weight=weight, recipe=vars(how), hoax=hoax.tolist(), quick=quick,
        seen=[len(victim.seen), *victim.seen[0].shape, victim.seen[0].double().sum().item()],
        tail=sum(value.double().sum().item() for value in tail.state_dict().values()),
    )  # fmt: skip
    # A copy with its layer at the same place.
    forged, layer = copy.deepcopy((tail, victim.layer))
    forged.load_state_dict(state)
    return Staged(victim.model.stem, forged).eval(), layer
