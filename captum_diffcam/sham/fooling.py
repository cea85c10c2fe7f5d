"""A hoax by training: maps are taught to lie while decisions stay."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Literal, TypeAlias, Union

import torch
from captum.attr import LayerGradCam
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from captum_diffcam.metrics import cam_entropy
from captum_diffcam.sham.forgery import Forgery, copy_model
from captum_diffcam.sham.hoax import hoax_map
from captum_diffcam.sham.map_losses import MapLoss, find_loss
from captum_diffcam.sham.methods import CamMethod

Data: TypeAlias = Iterable[Union[Tensor, Sequence[Tensor]]]
"""Batches, such as a DataLoader gives. Each is images ``(N, ...)``, or a pair of images and labels ``(N,)``."""

Classes: TypeAlias = Union[Literal["true", "all"], Collection[int]]
"""Whose maps lie, ``"true"``, ``"all"`` or several classes."""

_MEMORY = 0.9


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
) -> Forgery:
    r"""Fine-tune a copy of a model until its maps show the hoax while its decisions stay (passive fooling).

    Every step takes a batch and descends, with Adam and a rate that falls to zero along a cosine,

    .. math:: L_{\text{decision}} + w \, L_{\text{map}} .

    The decision loss is the cross-entropy with the labels or, where the data have none, with the honest model's
    probabilities. The map loss is a mean over images; several methods take turns.

    Args:
        model: the honest model. Only a copy is changed.
        layer: the layer whose maps are to lie.
        data: batches of images or of (images, labels); taken again from the start as long as there are steps.
        hoax: the map to show, one value for each position. None: the border, at the mean entropy of the honest model's
            own maps of the first batch (that is what makes the attack entropy-aware).
        methods: what is attacked, one method or several, which take turns. An attacker who knows the defence names it.
        map_loss: ``"sham"``; ``"location"``, ``"top_k"`` and ``"centre_mass"`` of Heo et al., the last two of which
            need no hoax; or a callable ``(maps, honest_maps, hoax) -> losses (N,)``.
        classes: whose maps lie. ``"true"``: that of the label, or of the honest model's prediction. ``"all"``: the true
            one and another one by turns, drawn anew for every image. Or several classes, of which one is drawn.
        weight: :math:`w`.
        steps: number of batches to train on.
        learning_rate: the rate of Adam at the first step.
        parameters: what is trained: the beginnings of parameters' names, as in ``model.named_parameters()``. None: all.
        seed: of whatever is drawn. The caller's random state is left alone.

    Returns:
        Forgery: the copy at the lowest smoothed loss, its layer, and both losses of every step. Batch normalisation and
        dropout work as in eval mode throughout; the copy comes back in the modes of the model.
        On an interrupt (Ctrl-C) the best copy so far is returned.

    Raises:
        TypeError, ValueError: the argument is named with what was given and what is allowed.

    Sources: J. Heo, S. Joo, T. Moon, arXiv:1902.02041, for passive fooling; J. Piland, C. Sweet, A. Czajka,
    arXiv:2506.08514, for SHAM. Its optimisation is ours.

    Example:
        >>> import torch
        >>> from captum_diffcam.sham import fool, hoax_map
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> batches = [torch.rand(16, 3, 28, 28)]
        >>> forged = fool(model, model[1], batches, hoax_map((7, 7), entropy=3.33), steps=3)
        >>> len(forged.history)
        3
    """
    loss_function = find_loss(map_loss)
    attacked = [methods] if isinstance(methods, CamMethod) else list(methods)
    _check(attacked, classes, weight, steps, learning_rate)
    forged, honest = copy_model(model, layer), copy_model(model, layer)
    for copied, _ in (forged, honest):
        copied.eval()
    trained = _select(forged[0], parameters)
    device = trained[0].device
    optimizer = torch.optim.Adam(trained, learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, lowest, smoothed = _snapshot(trained), math.inf, math.nan
    history: list[tuple[float, float]] = []
    with _own_randomness(seed, device), torch.enable_grad(), tqdm(total=steps, desc="fool", leave=False) as bar:
        try:
            for images, labels in _batches(data, device, steps):
                with torch.no_grad():
                    logits = honest[0](images)
                truth = logits.argmax(dim=1) if labels is None else labels
                target = _draw(classes, truth, logits.shape[1])
                method = attacked[len(history) % len(attacked)]
                reference = method.maps(*honest, images, target)
                if hoax is None:
                    hoax = _border([each.maps(*honest, images, target) for each in attacked])
                if hoax.shape != reference.shape[1:]:
                    got, allowed = tuple(hoax.shape), tuple(reference.shape[1:])
                    raise ValueError(f"hoax: got shape {got}; allowed is {allowed}, the layer's positions")
                decision = cross_entropy(forged[0](images), logits.softmax(dim=1) if labels is None else labels)
                maps = method.maps(*forged, images, target, create_graph=True)
                on_maps = loss_function(maps, reference, hoax.to(reference)).mean()
                loss = decision + weight * on_maps
                history.append((decision.item(), on_maps.item()))
                if not math.isfinite(now := loss.item()):
                    raise ValueError(
                        f"learning_rate: with {learning_rate} the loss became {now}; allowed is a lower one"
                    )
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
    return Forgery(*forged, tuple(history))


def _check(methods: Sequence[CamMethod], classes: Classes, weight: float, steps: int, learning_rate: float) -> None:
    if not methods or not all(isinstance(method, CamMethod) for method in methods):
        raise TypeError(f"methods: got {methods!r}; allowed is a CamMethod or several")
    if isinstance(classes, str) and classes not in ("true", "all"):
        raise ValueError(f"classes: got {classes!r}; allowed are 'true', 'all' and a collection of classes")
    if not isinstance(classes, str) and not (classes and all(isinstance(c, int) and c >= 0 for c in classes)):
        raise ValueError(f"classes: got {classes!r}; allowed are 'true', 'all' and a collection of classes")
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps: got {steps!r}; allowed is an integer of at least 1")
    for name, value in (("weight", weight), ("learning_rate", learning_rate)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: got {value!r}; allowed is a number of at least 0")


def _select(model: Module, beginnings: Sequence[str] | None) -> list[Parameter]:
    """The parameters to train; all others are frozen, so that nothing before the first of them is recorded."""
    named = dict(model.named_parameters())
    for beginning in [beginnings] if isinstance(beginnings, str) else beginnings or ():
        if not any(name.startswith(beginning) for name in named):
            raise ValueError(f"parameters: got {beginning!r}; allowed are beginnings of {', '.join(named)}")
    for name, parameter in named.items():
        parameter.requires_grad_(beginnings is None or name.startswith(tuple(beginnings)))
    trained = [parameter for parameter in named.values() if parameter.requires_grad]
    if not trained:
        raise ValueError(f"parameters: got {beginnings!r}, which leaves none to train; allowed is None or some of them")
    return trained


@contextmanager
def _own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _batches(data: Data, device: torch.device, steps: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """As many batches as there are steps, on the device, with None for labels that there are not."""
    if isinstance(data, Tensor):
        raise TypeError("data: got a tensor; allowed are batches, such as a DataLoader or a list with one batch")
    done = 0
    while done < steps:
        before = done
        for batch in islice(data, steps - done):
            if not isinstance(batch, (Tensor, list, tuple)) or (not isinstance(batch, Tensor) and len(batch) != 2):
                got = f"type {type(batch).__name__}"
                raise TypeError(f"data: gave a batch of {got}; allowed are images and pairs of images and labels")
            images, labels = (batch, None) if isinstance(batch, Tensor) else batch
            yield images.to(device), None if labels is None else labels.to(device)
            done += 1
        if done == before:
            raise ValueError("data: gave no batch; allowed are batches that can be taken again and again")


def _draw(classes: Classes, truth: Tensor, count: int) -> Tensor:
    """The class of each image whose map is to lie. Shape: (N,)."""
    if classes == "true":
        return truth
    if classes == "all":
        other = (truth + torch.randint(1, count, truth.shape).to(truth)) % count
        return torch.where(torch.rand(truth.shape).to(truth.device) < 0.5, truth, other)
    several = torch.tensor(list(classes))
    if several.max() >= count:
        raise ValueError(f"classes: got class {several.max()}; allowed are 0 to {count - 1}")
    return several[torch.randint(len(several), truth.shape)].to(truth)


def _border(honest_maps: Sequence[Tensor]) -> Tensor:
    """The hoax with the mean entropy of honest maps."""
    entropy = torch.cat([cam_entropy(maps) for maps in honest_maps]).mean().item()
    # Of a whole number of cells, which is there for certain.
    return hoax_map(honest_maps[0].shape[1:], math.log(max(round(math.exp(entropy)), 1)))


def _snapshot(parameters: Sequence[Parameter]) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def _restore(forged: Module, model: Module, trained: Sequence[Parameter], best: Sequence[Tensor]) -> None:
    """The best values, and modes and flags as the model has them."""
    with torch.no_grad():
        for parameter, value in zip(trained, best, strict=True):
            parameter.copy_(value)
    for module, original in zip(forged.modules(), model.modules(), strict=True):
        module.training = original.training
    for parameter, original_parameter in zip(forged.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(original_parameter.requires_grad)
    forged.zero_grad(set_to_none=True)
