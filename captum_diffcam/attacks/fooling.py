"""A hoax by training: maps are taught to lie while decisions stay."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias, Union

import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, kl_div
from tqdm import tqdm

from captum_diffcam._checks import as_index
from captum_diffcam.attacks.batches import Data, batches_of, check_data, checked_labels
from captum_diffcam.attacks.hoax import hoax_like
from captum_diffcam.attacks.losses import MapLoss, find_loss, location_loss, sham_loss
from captum_diffcam.attacks.manipulated import ManipulatedModel, copy_model, in_eval_mode
from captum_diffcam.logits import as_logits
from captum_diffcam.methods import CamMethod

Classes: TypeAlias = Union[Literal["true", "all"], Collection[int]]
"""Whose maps lie, ``"true"``, ``"all"`` or several classes."""

_MEMORY = 0.9
_CLASSES = "'true', 'all' or a collection of classes"


def fool(
    model: Module,
    layer: Module,
    data: Data,
    hoax: Tensor | None = None,
    *,
    methods: CamMethod | Sequence[CamMethod] = CamMethod(LayerGradCam),
    map_loss: MapLoss = "sham",
    classes: Classes = "true",
    weight: float = 4.0,
    steps: int = 300,
    learning_rate: float = 1e-3,
    parameters: Sequence[str] | None = None,
    seed: int = 0,
) -> ManipulatedModel:
    r"""Fine-tune a copy of a model until its maps show the hoax while its decisions stay (passive fooling).

    Every step takes a batch and descends, with Adam and a rate that falls to zero along a cosine,

    .. math:: L_{\text{decision}} + w \, L_{\text{map}} .

    The decision loss is the cross-entropy with the labels or, where the data have none, the divergence from
    the honest model's probabilities. The map loss is a mean over images; several methods take turns.

    Args:
        model: the honest model. Only a copy is changed.
        layer: the layer whose maps are to lie.
        data: batches of images or of (images, labels); taken again from the start as long as there are steps. A
            DataLoader that shuffles by a generator of its own goes on with that.
        hoax: the map to show, one value for each position. None: :func:`hoax_like` the honest model's own maps of the
            first batch.
        methods: what is attacked, one method or several, which take turns. An attacker who knows the defence names it.
        map_loss: ``"sham"``; ``"location"``, ``"top_k"`` and ``"centre_mass"`` of Heo et al., the last two of which
            need no hoax; or a callable ``(maps, honest_maps, hoax) -> losses (N,)``.
        classes: whose maps lie. ``"true"``: that of the label, or of the honest model's prediction. ``"all"``: the true
            one and another one by turns, drawn anew for every image. Or several classes, of which one is drawn.
        weight: :math:`w`.
        steps: number of batches to train on.
        learning_rate: the rate of Adam at the first step.
        parameters: what is trained: names of parameters, or of modules for all of theirs. None: all.
        seed: of whatever is drawn. The caller's random state is left alone.

    Returns:
        ManipulatedModel: the copy before the step with the lowest smoothed loss, its layer, and both losses of every
        step. Batch normalisation and dropout work as in eval mode throughout; the copy comes back in the modes of the
        model. On an interrupt (Ctrl-C), or when the loss explodes, the best copy so far is returned.

    Raises:
        TypeError, ValueError: the argument is named with what was given and what is allowed.

    Warns:
        UserWarning: the loss exploded.

    Sources: J. Heo, S. Joo, T. Moon, arXiv:1902.02041, for passive fooling; J. Piland, C. Sweet, A. Czajka,
    arXiv:2506.08514, for SHAM. Its optimisation is ours.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks import fool, hoax_map
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> batches = [torch.rand(16, 3, 28, 28)]
        >>> forged = fool(model, model[1], batches, hoax_map((7, 7), entropy=3.33), steps=3)
        >>> len(forged.history)
        3
    """
    loss_function = find_loss(map_loss)
    asks = loss_function not in (sham_loss, location_loss)
    attacked = [methods] if isinstance(methods, CamMethod) else list(methods)
    drawn = classes if isinstance(classes, str) else [as_index("classes", each, _CLASSES) for each in _listed(classes)]
    _check(attacked, drawn, weight, steps, learning_rate, hoax, data)
    forged, honest = copy_model(model, layer), copy_model(model, layer)
    trained = _select(forged[0], parameters)
    device = trained[0].device
    optimizer = torch.optim.Adam(trained, learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, lowest, smoothed = _snapshot(trained), math.inf, math.nan
    history: list[tuple[float, float]] = []
    with (
        _set_up(seed),
        in_eval_mode(forged[0]),
        in_eval_mode(honest[0]),
        tqdm(total=steps, desc="fool", leave=False) as bar,
    ):
        try:
            for images, labels in batches_of(data, device, steps):
                with torch.no_grad():
                    logits = as_logits(honest[0](images))
                labels = None if labels is None else checked_labels(labels, logits)
                truth = logits.argmax(dim=1) if labels is None else labels
                method = attacked[len(history) % len(attacked)]
                if hoax is None:
                    hoax = hoax_like(torch.cat([each.maps(*honest, images, truth) for each in attacked]))
                target = _draw(drawn, truth, logits.shape[1])
                with _outputs_for(forged[0], images) as outputs:
                    maps = method.maps(*forged, images, target, create_graph=True)
                reference = method.maps(*honest, images, target) if asks else maps.detach()
                if hoax.shape != reference.shape[1:]:
                    got, allowed = tuple(hoax.shape), tuple(reference.shape[1:])
                    raise ValueError(f"hoax: got shape {got}; allowed is {allowed}, the layer's positions")
                # Decided in the forward pass that the maps were taken from, where there was one of just these images.
                decision = _decision_loss(outputs[0] if outputs else forged[0](images), logits, labels)
                on_maps = loss_function(maps, reference, hoax.to(reference)).mean()
                loss = decision + weight * on_maps
                now = loss.item()
                if not math.isfinite(now):
                    warnings.warn(f"learning_rate: with {learning_rate} the loss became {now}", stacklevel=2)
                    break
                history.append((decision.item(), on_maps.item()))
                smoothed = now if len(history) == 1 else _MEMORY * smoothed + (1 - _MEMORY) * now
                if smoothed < lowest:
                    best, lowest = _snapshot(trained), smoothed
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(decision=f"{history[-1][0]:.3f}", map=f"{history[-1][1]:.3f}")
        except KeyboardInterrupt:
            bar.write("interrupted: the best copy so far is returned")
    _restore(forged[0], model, trained, best)
    return ManipulatedModel(*forged, tuple(history))


def _listed(classes: Collection[int]) -> list[int]:
    if isinstance(classes, int) or not (several := list(classes)):
        raise ValueError(f"`classes` must be {_CLASSES}, got {classes!r}")
    return several


def _check(
    methods: Sequence[CamMethod],
    classes: str | list[int],
    weight: float,
    steps: int,
    learning_rate: float,
    hoax: Tensor | None,
    data: Data,
) -> None:
    if not methods or not all(isinstance(method, CamMethod) for method in methods):
        raise TypeError(f"methods: got {methods!r}; allowed is a CamMethod or several")
    if classes not in ("true", "all") and (isinstance(classes, str) or min(classes) < 0):
        raise ValueError(f"`classes` must be {_CLASSES}, got {classes!r}")
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps: got {steps!r}; allowed is an integer of at least 1")
    for name, value in (("weight", weight), ("learning_rate", learning_rate)):
        if not isinstance(value, (int, float)) or not 0 <= value < math.inf:
            raise ValueError(f"{name}: got {value!r}; allowed is a number of at least 0")
    if hoax is not None and not (isinstance(hoax, Tensor) and hoax.isfinite().all()):
        raise ValueError(f"hoax: got {hoax!r}; allowed are None and a finite tensor")
    check_data(data)


def _decision_loss(forged: Tensor, honest: Tensor, labels: Tensor | None) -> Tensor:
    """Cross-entropy with the labels, or the divergence from the honest model's probabilities."""
    if labels is not None:
        return cross_entropy(forged, labels)
    return kl_div(forged.log_softmax(dim=1), honest.log_softmax(dim=1), reduction="batchmean", log_target=True)


def _select(model: Module, given: Sequence[str] | None) -> list[Parameter]:
    """The parameters to train; all others are frozen, so that nothing before the first of them is recorded."""
    named = dict(model.named_parameters())
    names = [given] if isinstance(given, str) else list(named) if given is None else list(given)

    def meant(parameter: str, name: str) -> bool:
        return parameter == name or parameter.startswith(f"{name}.")

    for name in names:
        if not any(meant(parameter, name) for parameter in named):
            raise ValueError(f"parameters: got {name!r}; allowed are {', '.join(named)} and modules of them")
    for key, parameter in named.items():
        parameter.requires_grad_(any(meant(key, name) for name in names))
    trained = [parameter for parameter in named.values() if parameter.requires_grad]
    if not trained:
        raise ValueError(f"parameters: got {given!r}, which leaves none to train; allowed is None or some of them")
    return trained


@contextmanager
def _set_up(seed: int) -> Iterator[None]:
    """Random numbers of one's own, on every device; recording; and an attention that can be derived twice."""
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        torch.manual_seed(seed)
        yield


@contextmanager
def _outputs_for(model: Module, images: Tensor) -> Iterator[list[Tensor]]:
    """What the model returns inside for just these images, where that is recorded."""
    outputs: list[Tensor] = []

    def keep(_: Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        given = arguments[0] if arguments else None
        # Methods may take a copy of the images.
        same = isinstance(given, Tensor) and given.dtype == images.dtype and torch.equal(given, images)
        if same and not outputs and isinstance(output, Tensor) and output.requires_grad:
            outputs.append(output)

    handle = model.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()


def _draw(classes: str | list[int], truth: Tensor, count: int) -> Tensor:
    """The class of each image whose map is to lie. Shape: (N,)."""
    if classes == "true":
        return truth
    if classes == "all":
        if count < 2:
            raise ValueError("classes: got 'all' for a model of one class; allowed is 'true'")
        other = (truth + torch.randint(1, count, truth.shape).to(truth)) % count
        return torch.where(torch.rand(truth.shape).to(truth.device) < 0.5, truth, other)
    several = torch.tensor(classes)
    if several.max() >= count:
        raise ValueError(f"classes: got class {several.max()}; allowed are 0 to {count - 1}")
    return several[torch.randint(len(several), truth.shape)].to(truth)


def _snapshot(parameters: Sequence[Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _restore(forged: Module, model: Module, trained: Sequence[Parameter], best: Sequence[Tensor]) -> None:
    """The best values, and flags as the model has them."""
    with torch.no_grad():
        for parameter, value in zip(trained, best, strict=True):
            parameter.copy_(value)
    for parameter, original_parameter in zip(forged.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(original_parameter.requires_grad)
    forged.zero_grad(set_to_none=True)
