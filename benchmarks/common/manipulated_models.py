"""The attacks as recipes: the attacked maps, the loss, the learning rate and the number of steps.

The recipes were chosen on other seeds than those that are reported.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from benchmarks.common.clean_models import FIRST_BATCHES, CleanModel, Setting, TrainedPart
from benchmarks.common.staged import Staged
from benchmarks.common.stored import Stored, fingerprint
from captum_diffcam import CamMethod, EquivariantPart, LayerDiffGradCam
from captum_diffcam.attacks import ManipulatedModel, fool, hoax_like, inject_hoax

PLAIN, LOGSUMEXP, MEAN, MAX = "Grad-CAM", "logsumexp", "mean", "max"
"""Methods that are attacked and measured: Grad-CAM, and DiffGradCAM by its reduction."""
EQUIVARIANT = {name: f"equivariant part, {name}" for name in (PLAIN, LOGSUMEXP, MEAN)}
"""The equivariant part of these maps, by the method."""
_NEIGHBOURS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


def attacked_methods(clean: CleanModel) -> dict[str, CamMethod]:
    """Return the methods that an attacker can aim at, by name, for the layout of a clean model."""
    keywords = clean.keywords
    ours: Callable[..., LayerAttribution] = partial(LayerDiffGradCam, **clean.constructor)
    plain = CamMethod(LayerGradCam, **keywords)
    if clean.constructor:
        # LayerGradCam takes no layout; LayerDiffGradCam without a contrast is the same method.
        plain = CamMethod(ours, contrast=[], **keywords)

    def equivariant(model: nn.Module, layer: nn.Module) -> EquivariantPart:
        return EquivariantPart(ours(model, layer), _NEIGHBOURS)

    return {
        PLAIN: plain,
        **{name: CamMethod(ours, reduction=name, **keywords) for name in (LOGSUMEXP, MEAN, MAX)},
        EQUIVARIANT[LOGSUMEXP]: CamMethod(equivariant, shifts_per_eval=len(_NEIGHBOURS), **keywords),
    }


@dataclass(frozen=True)
class Attack:
    """What distinguishes one fine-tuning from another."""

    targets: Sequence[str] = (PLAIN,)
    """The names of the attacked methods. Several take turns."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of :func:`captum_diffcam.attacks.fool`."""
    on_images: bool = False
    """Whether the attack needs the images themselves instead of the output of the stem."""


SHAM, SHAM_ALL = "SHAM, true class", "SHAM, all classes"
ADAPTIVE = {name: f"adaptive, {name}" for name in (LOGSUMEXP, MEAN, MAX)}
AT_ONCE, AGAINST_EQUIVARIANT = "adaptive, all at once", "adaptive, equivariant part"
INJECTION = "injection"
ATTACKS: dict[str, Attack] = {
    SHAM: Attack(),
    SHAM_ALL: Attack(options={"classes": "all"}),
    "location (Heo et al.)": Attack(options={"map_loss": "location"}),
    "top-k (Heo et al.)": Attack(options={"map_loss": "top_k"}),
    "centre-mass (Heo et al.)": Attack(options={"map_loss": "centre_mass"}),
    **{attack: Attack([name]) for name, attack in ADAPTIVE.items()},
    AT_ONCE: Attack([PLAIN, LOGSUMEXP, MEAN]),
    AGAINST_EQUIVARIANT: Attack([EQUIVARIANT[LOGSUMEXP]], on_images=True),
}


@dataclass(frozen=True)
class Recipe:
    """Steps and learning rate of a fine-tuning."""

    steps: int
    learning_rate: float


QUICK_STEPS = 12
_SMALL, _LARGE = Recipe(400, 3e-3), Recipe(400, 3e-4)
"""The learning rate for EfficientNet-Lite0 is the best of 1e-3, 3e-4 and 1e-4, on seed 100."""


def recipe(setting: Setting, quick: bool = False) -> Recipe:
    """Return the recipe for a kind of clean model. The weight of the map loss is what a study varies."""
    full = _LARGE if setting.classes == 1000 else _SMALL
    return Recipe(QUICK_STEPS, full.learning_rate) if quick else full


def hoax_for(clean: CleanModel) -> Tensor:
    """Return the hoax map of a border, with the entropy of the clean maps of the attacker's images."""
    batches = torch.cat(list(clean.attacker_batches[:FIRST_BATCHES])).to(clean.images.device)
    with torch.no_grad():
        predicted = clean.model.tail(batches).argmax(dim=1)
    maps = attacked_methods(clean)[PLAIN].maps(clean.model.tail, clean.layer, batches, predicted)
    return hoax_like(maps).cpu()


@dataclass(frozen=True)
class Reference:
    """A clean model with what its attacks are compared with."""

    clean: CleanModel
    hoax: Tensor
    target: Tensor
    maps: dict[str, Tensor]


def reference_for(clean: CleanModel, maps_of: Callable[[Tensor], dict[str, Tensor]]) -> Reference:
    """Return the model with its hoax map, its predictions, and the maps that ``maps_of`` makes of these."""
    with torch.no_grad():
        target = clean.model(clean.images).argmax(dim=1)
    return Reference(clean, hoax_for(clean), target, maps_of(target))


def manipulate(
    setting: Setting,
    seed: int,
    trained_part: TrainedPart,
    attack: str,
    weight: float,
    clean: CleanModel,
    hoax: Tensor,
    stored: Stored,
    quick: bool = False,
) -> tuple[Staged, nn.Module]:
    """Return a manipulated model and its layer, from the store if it was made before.

    Args:
        setting: the kind of the clean model.
        seed: of the clean model and of the attack.
        trained_part: the part that the attacker trains.
        attack: a name of :data:`ATTACKS`, or ``"injection"``.
        weight: of the map loss. An injection ignores it.
        clean: the clean model with the attacker's images.
        hoax: the hoax map.
        stored: where manipulated models are kept.
        quick: train for a few steps only.
    """
    tail = clean.model.tail
    if attack == INJECTION:
        injected = inject_hoax(tail, clean.layer, hoax)
        return Staged(clean.model.stem, injected.model).eval(), injected.layer
    chosen, how = ATTACKS[attack], recipe(setting, quick)
    methods = attacked_methods(clean)

    def make() -> dict[str, Tensor]:
        manipulated: ManipulatedModel = fool(
            clean.model if chosen.on_images else tail,
            clean.layer,
            clean.attacker_batches,
            hoax,
            methods=[methods[name] for name in chosen.targets],
            weight=weight,
            steps=how.steps,
            learning_rate=how.learning_rate,
            seed=seed,
            **chosen.options,
        )
        model: Any = manipulated.model
        return cpu_state(model.tail if chosen.on_images else model)

    state = stored.get(
        f"{setting.name}, {attack}", make,
        seed=seed, trained=trained_part, weight=weight, recipe=vars(how), hoax=hoax.tolist(), quick=quick,
        attacker=[
            len(clean.attacker_batches),
            *clean.attacker_batches[0].shape,
            clean.attacker_batches[0].double().sum().item(),
        ],
        tail=fingerprint(tail),
    )  # fmt: skip
    return with_tail_state(clean, state)


def cpu_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of a module on the CPU."""
    return {key: value.cpu() for key, value in module.state_dict().items()}


def with_tail_state(clean: CleanModel, state: Mapping[str, Any]) -> tuple[Staged, nn.Module]:
    """Return the clean model with other weights in its tail, and the layer at the same place."""
    tail, layer = copy.deepcopy((clean.model.tail, clean.layer))
    tail.load_state_dict(state)
    return Staged(clean.model.stem, tail).eval(), layer
