"""A hoax by training: a copy of the model is fine-tuned until its maps show the hoax."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from numbers import Real
from typing import Literal, NamedTuple, TypeAlias, Union

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, kl_div
from tqdm import tqdm

from captum_diffcam._checks import as_count, as_index, warn_user
from captum_diffcam.attacks.hoax import hoax_like
from captum_diffcam.attacks.losses import MapLoss, MapLossFunction, location_loss, resolve_map_loss, sham_loss
from captum_diffcam.attacks.manipulated import ManipulatedModel, copy_model
from captum_diffcam.attribution import Layer, LayerDiffGradCam
from captum_diffcam.layers import SpatialLayer
from captum_diffcam.logits import as_logits, check_several_classes
from captum_diffcam.methods import CamMethod, as_methods, in_eval_mode

Data: TypeAlias = Iterable[Union[Tensor, Sequence[Tensor]]]
"""Batches that can be iterated more than once, such as a DataLoader or a list. A batch is images ``(N, ...)``, or a
pair of images and labels ``(N,)``."""

Classes: TypeAlias = Union[Literal["true", "all"], Collection[int]]
"""The classes whose maps are attacked: ``"true"``, ``"all"`` or a collection of classes."""

HoaxMaps: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``(images, target, clean_maps) -> hoax maps``. Takes images ``(N, ...)``, the attacked class of each, (N,), and the
clean model's maps ``(N, *positions)``. Returns the map to show for each image, ``(N, *positions)``."""

_ModelAndLayer: TypeAlias = tuple[Module, Union[Module, SpatialLayer]]

_SMOOTHING = 0.9
_CLASSES = "'true', 'all' or a collection of classes"


def fool(
    model: Module,
    layer: Layer,
    data: Data,
    hoax: Tensor | HoaxMaps | None = None,
    *,
    methods: CamMethod | Sequence[CamMethod] = CamMethod(LayerDiffGradCam, contrast=[]),
    map_loss: MapLoss = "sham",
    classes: Classes = "true",
    weight: float = 4.0,
    steps: int = 300,
    learning_rate: float = 1e-3,
    parameters: str | Sequence[str] | None = None,
    train_mode: bool = False,
    seed: int = 0,
) -> ManipulatedModel:
    r"""Fine-tune a copy of a model so that its maps show the hoax while its predictions stay (passive fooling).

    Each step takes one batch and minimises

    .. math:: L_{\text{prediction}} + w \, L_{\text{map}}

    with Adam. The learning rate falls to zero along a cosine. The prediction loss is the cross-entropy with the labels.
    If the data have no labels, it is the Kullback-Leibler divergence from the clean model's probabilities. The map loss
    is the mean over the images of the batch. Several methods take turns, one per step.

    Args:
        model: the clean model. Only a copy is changed.
        layer: the layer whose maps are to mislead: a module of the model, its name, or a :class:`SpatialLayer
            <captum_diffcam.layers.SpatialLayer>`, such as :func:`~captum_diffcam.last_spatial_layer` returns.
        data: batches of images or of (images, labels). They are iterated again until all steps are done. The random
            state of a DataLoader's own generator advances.
        hoax: the map to show.

            - ``(*positions)``: the same for every image
            - a callable ``(images, target, clean_maps) -> (N, *positions)``: another for each image. For example,
              ``lambda images, target, clean_maps: torch.where((target == 3)[:, None, None], hoax, clean_maps)`` shows
              a hoax for class 3 and leaves the other maps as they are; ``clean_maps * kept`` omits a part of the object
            - None: :func:`hoax_like` the clean model's maps of the first batch

        methods: the attacked method, or several. The default is Grad-CAM. An attacker who knows the defence attacks
            that method.
        map_loss: ``"sham"``; ``"location"``, ``"top_k"`` or ``"centre_mass"`` of Heo et al.; ``"destroy"``, which makes
            the maps unlike those of the clean model; or a callable ``(maps, clean_maps, hoax) -> losses (N,)``. The
            losses ``"top_k"``, ``"centre_mass"`` and ``"destroy"`` do not use the hoax.
        classes: the classes whose maps are attacked.

            - ``"true"``: the label of each image, or the clean model's prediction if there are no labels
            - ``"all"``: for each image and step, the true class or a random other class, with equal probability
            - a collection of classes: for each image and step, a random one of them

        weight: :math:`w`, at least 0.
        steps: the number of batches to train on, at least 1.
        learning_rate: Adam's learning rate at the first step, at least 0.
        parameters: the names of the parameters to train, or of modules to train all their parameters. None: all.
        train_mode: whether batch normalisation and dropout are in train mode during training. Use it with labels to
            train an untrained model from scratch, as the paper trains. False: they are in eval mode.
        seed: of the random classes and of dropout. The caller's random state is not changed.

    Returns:
        ManipulatedModel: the copy with the parameters that had the lowest smoothed loss, its layer (a module), and
        both losses of every step. The copy is returned in the modes of the model. If training is interrupted
        (Ctrl-C), or logits or loss are not finite any more, the best copy so far is returned.

    Raises:
        TypeError, ValueError: an argument is none of the above. The message names it.

    Warns:
        UserWarning: logits or loss are not finite any more.

    Sources: J. Heo, S. Joo, T. Moon, arXiv:1902.02041, for passive fooling; J. Piland, C. Sweet, A. Czajka,
    arXiv:2506.08514, for SHAM. The optimisation is ours.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks import fool, hoax_map
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> batches = [torch.rand(16, 3, 28, 28)]
        >>> manipulated = fool(model, model[1], batches, hoax_map((7, 7), entropy=3.33), steps=3)
        >>> len(manipulated.history)
        3
    """
    loss_function = resolve_map_loss(map_loss)
    methods = as_methods(methods)
    attacked_classes = _parse_classes(classes)
    _check(weight, steps, learning_rate, hoax, train_mode, data)
    with _training_state(seed):
        copied, clean = copy_model(model, layer), copy_model(model, layer)
        trained = _select_parameters(copied[0], parameters)
        attack = _Attack(methods, loss_function, attacked_classes, hoax)
        with in_eval_mode(copied[0]), in_eval_mode(clean[0]), _train_mode(copied[0], train_mode):
            history = _fine_tune(copied, clean, trained, data, attack, weight, steps, learning_rate)
    for parameter, original in zip(copied[0].parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    copied[0].zero_grad(set_to_none=True)
    copied_layer = copied[1].layer if isinstance(copied[1], SpatialLayer) else copied[1]
    return ManipulatedModel(copied[0], copied_layer, history)


class _Attack(NamedTuple):
    """What the maps are to show."""

    methods: Sequence[CamMethod]
    loss: MapLossFunction
    classes: str | list[int]
    hoax: Tensor | HoaxMaps | None


def _fine_tune(
    copied: _ModelAndLayer,
    clean: _ModelAndLayer,
    trained: Sequence[Parameter],
    data: Data,
    attack: _Attack,
    weight: float,
    steps: int,
    learning_rate: float,
) -> tuple[tuple[float, float], ...]:
    """Train the copy, leave it with the parameters of the lowest smoothed loss, and return the losses of each step."""
    optimizer = torch.optim.Adam(trained, learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    # Statistics of batch normalisation belong to the parameters they were measured with.
    kept = [*trained, *copied[0].buffers()]
    best, lowest_loss, smoothed_loss = _values(kept), math.inf, math.nan
    history: list[tuple[float, float]] = []
    with tqdm(total=steps, desc="fool", leave=False) as bar:
        try:
            for images, labels in _batches(data, trained[0].device, steps):
                with torch.no_grad():
                    clean_logits = as_logits(clean[0](images))
                check_several_classes(clean_logits)
                if labels is not None:
                    labels = _check_labels(labels, clean_logits)
                true_class = clean_logits.argmax(dim=1) if labels is None else labels
                if attack.hoax is None:
                    maps = [method.maps(*clean, images, true_class) for method in attack.methods]
                    attack = attack._replace(hoax=hoax_like(torch.cat(maps)))
                method = attack.methods[len(history) % len(attack.methods)]
                target = _draw_target(attack.classes, true_class, clean_logits.shape[1])
                logits, map_loss = _logits_and_map_loss(copied, clean, images, target, method, attack)
                prediction_loss = _prediction_loss(logits, clean_logits, labels)
                loss = prediction_loss + weight * map_loss
                if not loss.isfinite():
                    raise FloatingPointError(f"the loss became {loss.item()}")
                history.append((prediction_loss.item(), map_loss.item()))
                if len(history) == 1:
                    smoothed_loss = loss.item()
                else:
                    smoothed_loss = _SMOOTHING * smoothed_loss + (1 - _SMOOTHING) * loss.item()
                if smoothed_loss < lowest_loss:
                    best, lowest_loss = _values(kept), smoothed_loss
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(prediction=f"{history[-1][0]:.3f}", map=f"{history[-1][1]:.3f}")
        except KeyboardInterrupt:
            bar.write("Interrupted: the best copy so far is returned.")
        except FloatingPointError as error:
            warn_user(f"Training stopped because {error}. Reduce `learning_rate` {learning_rate}.")
    with torch.no_grad():
        for tensor, value in zip(kept, best, strict=True):
            tensor.copy_(value)
    return tuple(history)


def _logits_and_map_loss(
    copied: _ModelAndLayer, clean: _ModelAndLayer, images: Tensor, target: Tensor, method: CamMethod, attack: _Attack
) -> tuple[Tensor, Tensor]:
    """Return the copy's logits (N, C) and its mean map loss, both with a graph."""
    assert attack.hoax is not None
    with _record_logits(copied[0], images) as recorded:
        maps = method.maps(*copied, images, target, create_graph=True)
    # These two losses compare with the hoax only, so the clean maps need not be computed.
    unused = attack.loss in (sham_loss, location_loss) and isinstance(attack.hoax, Tensor)
    clean_maps = maps.detach() if unused else method.maps(*clean, images, target)
    if isinstance(attack.hoax, Tensor):
        hoax, shape = attack.hoax, maps.shape[1:]
    else:
        hoax, shape = attack.hoax(images, target, clean_maps), maps.shape
    if not isinstance(hoax, Tensor) or hoax.shape != shape or not hoax.isfinite().all():
        got = tuple(hoax.shape) if isinstance(hoax, Tensor) else type(hoax).__name__
        raise ValueError(f"`hoax` must be finite and have the layer's positions, {tuple(shape)}, got {got}.")
    # A map leaves the statistics of batch normalisation as they were. In train mode another forward pass updates them.
    logits = recorded[0] if recorded and not copied[0].training else copied[0](images)
    return logits, attack.loss(maps, clean_maps, hoax.detach().to(maps)).mean()


def _parse_classes(classes: Classes) -> str | list[int]:
    if isinstance(classes, str):
        if classes not in ("true", "all"):
            raise ValueError(f"`classes` must be {_CLASSES}, got {classes!r}.")
        return classes
    if not isinstance(classes, Collection):
        raise TypeError(f"`classes` must be {_CLASSES}, got {classes!r}.")
    indices = [as_index("classes", index, _CLASSES) for index in classes]
    if not indices or min(indices) < 0:
        raise ValueError(f"`classes` must be {_CLASSES}, at least one and none negative, got {classes!r}.")
    return indices


def _check(
    weight: float,
    steps: int,
    learning_rate: float,
    hoax: Tensor | HoaxMaps | None,
    train_mode: bool,
    data: Data,
) -> None:
    as_count("steps", steps)
    for name, value in (("weight", weight), ("learning_rate", learning_rate)):
        if not isinstance(value, Real) or not 0 <= value < math.inf:
            raise ValueError(f"`{name}` must be a finite number >= 0, got {value!r}.")
    if not (hoax is None or callable(hoax) or (isinstance(hoax, Tensor) and hoax.isfinite().all())):
        raise ValueError(f"`hoax` must be None, a finite tensor or a callable, got {hoax!r}.")
    if not isinstance(train_mode, bool):
        raise TypeError(f"`train_mode` must be True or False, got {train_mode!r}.")
    if isinstance(data, (Tensor, Iterator)) or not isinstance(data, Iterable):
        raise TypeError(
            "`data` must be batches that can be iterated more than once, such as a DataLoader or a list, got "
            f"{type(data).__name__}. Put a single batch in a list."
        )


def _select_parameters(model: Module, names: str | Sequence[str] | None) -> list[Parameter]:
    """Return the parameters to train, and freeze all others."""
    named = dict(model.named_parameters())
    selected = list(named) if names is None else [names] if isinstance(names, str) else list(names)

    def is_part(parameter: str, name: str) -> bool:
        return parameter == name or parameter.startswith(f"{name}.")

    for name in selected:
        if not any(is_part(parameter, name) for parameter in named):
            raise ValueError(
                f"`parameters` must be names of parameters or modules of the model ({', '.join(named)}), got {name!r}."
            )
    for key, parameter in named.items():
        parameter.requires_grad_(any(is_part(key, name) for name in selected))
    trained = [parameter for parameter in named.values() if parameter.requires_grad]
    if not trained:
        raise ValueError(f"`parameters` must name at least one parameter, got {names!r}. Use None to train all.")
    return trained


def _values(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


@contextmanager
def _training_state(seed: int) -> Iterator[None]:
    """Set the random state, the grad mode and an attention kernel with a second derivative; restore them afterwards."""
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        torch.manual_seed(seed)
        yield


@contextmanager
def _train_mode(model: Module, train_mode: bool) -> Iterator[None]:
    """Set the model to train mode if asked for. Maps then depend on the other images of the batch, on purpose."""
    if not train_mode:
        yield
        return
    model.train()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*train mode", category=UserWarning)
        yield


def _batches(data: Data, device: torch.device, steps: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield (images, labels or None) on the device, once per step; the data are iterated again as often as needed."""
    count = 0
    while count < steps:
        start = count
        for batch in islice(data, steps - count):
            parts = (batch,) if isinstance(batch, Tensor) else batch
            if not isinstance(parts, (list, tuple)) or len(parts) > 2 or not all(isinstance(p, Tensor) for p in parts):
                raise TypeError(
                    f"`data` must give batches of images or of (images, labels), got a batch of type "
                    f"{type(batch).__name__}."
                )
            # Tensors that were made in inference_mode cannot be saved for the backward pass.
            images, *labels = ((part.clone() if part.is_inference() else part).to(device) for part in parts)
            yield images, labels[0] if labels else None
            count += 1
        if count == start:
            raise ValueError("`data` must give at least one batch every time it is iterated, got none.")


def _check_labels(labels: Tensor, logits: Tensor) -> Tensor:
    """Return the labels as int64 after checking that each is a class of the model."""
    if labels.is_floating_point() or labels.shape != logits.shape[:1]:
        raise ValueError(
            f"`data` must give integer labels of shape {tuple(logits.shape[:1])}, got {labels.dtype} of shape "
            f"{tuple(labels.shape)}."
        )
    if ((labels < 0) | (labels >= logits.shape[1])).any():
        raise ValueError(f"`data` must give labels from 0 to {logits.shape[1] - 1}, got {labels.tolist()}.")
    return labels.long()


def _draw_target(classes: str | list[int], true_class: Tensor, num_classes: int) -> Tensor:
    """Return the class of each image whose map is attacked. Shape: (N,)."""
    if classes == "true":
        return true_class
    if classes == "all":
        other = (true_class + torch.randint(1, num_classes, true_class.shape).to(true_class)) % num_classes
        return torch.where(torch.rand(true_class.shape).to(true_class.device) < 0.5, true_class, other)
    candidates = torch.tensor(classes)
    if candidates.max() >= num_classes:
        raise ValueError(f"`classes` must be from 0 to {num_classes - 1}, got {candidates.max()}.")
    return candidates[torch.randint(len(candidates), true_class.shape)].to(true_class)


@contextmanager
def _record_logits(model: Module, images: Tensor) -> Iterator[list[Tensor]]:
    """Record the logits of the forward pass that a map is computed from, which saves a second forward pass.

    The list stays empty if the method does not run the model on exactly these images with a graph. Raise a
    FloatingPointError if a logit is not finite.
    """
    recorded: list[Tensor] = []

    def keep(_: Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if recorded or not isinstance(output, Tensor) or not output.requires_grad:
            return
        if output.isnan().any() or output.isposinf().any():
            raise FloatingPointError("a logit is not finite")
        # Equal values and not the same tensor, because a method may copy the images.
        if args and isinstance(args[0], Tensor) and args[0].dtype == images.dtype and torch.equal(args[0], images):
            recorded.append(output)

    handle = model.register_forward_hook(keep)
    try:
        yield recorded
    finally:
        handle.remove()


def _prediction_loss(logits: Tensor, clean_logits: Tensor, labels: Tensor | None) -> Tensor:
    """Return the cross-entropy with the labels, or the divergence from the clean model's probabilities."""
    if labels is not None:
        return cross_entropy(logits, labels)
    return kl_div(logits.log_softmax(dim=1), clean_logits.log_softmax(dim=1), reduction="batchmean", log_target=True)
