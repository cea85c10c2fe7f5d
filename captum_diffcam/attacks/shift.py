"""Moved features: the layer's positions are shifted or permuted, and no logit changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from captum_diffcam.attacks.manipulated import ManipulatedModel, copy_model_and_output, name_of_layer, replace_module
from captum_diffcam.attribution import Layer
from captum_diffcam.logits import as_logits
from captum_diffcam.methods import in_eval_mode

_TOLERANCE = 1e-8
"""Relative to the largest logit, in float64. The order of a sum changes 1e-15 or so."""


def shift_features(
    model: Module, layer: Layer, images: Tensor, shift: Sequence[int] | Tensor = (2, 2)
) -> ManipulatedModel:
    r"""Edit a copy of a model so that every map of a layer moves while every logit stays the same.

    The attack moves the layer's features to other positions,

    .. math:: A'_{k, \pi(i)} = A_{k, i} .

    If the layers behind pool over all positions, they do not see the difference. Activations and gradients of the layer
    move alike, and with them every map of the layer, whether contrastive or not. Occlusion of the image does not move.

    Args:
        model: the clean model. Only a copy is changed.
        layer: the layer whose maps are to mislead, with features ``(N, channels, *positions)``: a module, its name or a
            :class:`SpatialLayer <captum_diffcam.layers.SpatialLayer>`. The model must run it once per forward pass.
        images: (N, ...), a batch to run the model on. The shapes are taken from it, not the values.
        shift: how many positions the features move along each dimension. What leaves on one side enters on the other.
            Or a permutation ``(number of positions,)`` as a tensor: position i gets the features of position
            ``permutation[i]``, row by row.

    Returns:
        ManipulatedModel: the changed copy and its layer, which keeps its name.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the logits would not stay the same, as with a flattened head, or a convolution with padding behind
            the layer. Or ``layer`` is meant by its input, has a layout, or does not run once; or ``shift`` does not
            fit its positions or moves nothing.

    Source: the construction is ours. It shows a premise of every class activation map: a position of the layer looks at
    the same position of the image.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks import shift_features
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> images = torch.rand(2, 3, 28, 28)
        >>> manipulated = shift_features(model, model[1], images, (2, 0))
        >>> torch.allclose(manipulated.model(images), model(images), atol=1e-5)
        True
    """
    if not isinstance(images, Tensor) or images.ndim < 1 or len(images) < 1:
        raise TypeError(f"`images` must be a batch of at least one image, got {images!r}.")
    copied, copied_layer = copy_model_and_output(model, layer)
    name = name_of_layer(copied, copied_layer)
    moved_layer = _MovedLayer(copied_layer, _parse_shift(shift))
    replace_module(copied, name, moved_layer)
    _check_same_logits(copied, name, images)
    return ManipulatedModel(copied, moved_layer)


class _MovedLayer(Module):
    """A layer whose output is shifted or permuted."""

    permutation: Tensor

    def __init__(self, layer: Module, shift: tuple[int, ...] | Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.shift = () if isinstance(shift, Tensor) else shift
        self.register_buffer("permutation", shift if isinstance(shift, Tensor) else torch.empty(0, dtype=torch.long))
        self.train(layer.training)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        features: Tensor = self.layer(*args, **kwargs)
        return self.moved(features)

    def moved(self, features: Tensor) -> Tensor:
        """Return the features at their new positions. Shapes: ``(N, channels, *positions)``, both."""
        if not isinstance(features, Tensor) or features.ndim < 3:
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"`layer` must return features (N, channels, *positions), got {got}.")
        positions = tuple(features.shape[2:])
        if not self.shift:
            if features[0, 0].numel() != len(self.permutation):
                raise ValueError(f"`shift` must be a permutation of the positions {positions}, got {self.permutation}.")
            moved: Tensor = features.flatten(2)[:, :, self.permutation.to(features.device)].reshape(features.shape)
            return moved
        if len(positions) != len(self.shift):
            raise ValueError(f"`shift` must have a number for each dimension of {positions}, got {self.shift}.")
        return features.roll(self.shift, tuple(range(2, features.ndim)))


def _parse_shift(shift: Sequence[int] | Tensor) -> tuple[int, ...] | Tensor:
    expected = "integers, one for each dimension, or a permutation of positions as an integer tensor"
    if isinstance(shift, Tensor):
        if shift.ndim != 1 or not torch.equal(shift.cpu().sort().values, torch.arange(len(shift))):
            raise ValueError(f"`shift` must be {expected}, got {shift!r}.")
        return shift.detach().clone()
    if isinstance(shift, str) or not isinstance(shift, Sequence):
        raise TypeError(f"`shift` must be {expected}, got {shift!r}.")
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in shift) or not any(shift):
        raise ValueError(f"`shift` must be {expected}, not all zero, got {shift!r}.")
    return tuple(shift)


def _check_same_logits(model: Module, name: str, images: Tensor) -> None:
    """Raise a ValueError unless random features of the layer give the same logits before and after they are moved.

    Random features, because real ones may be so alike that nothing would be noticed. In float64 on the CPU, so that
    only real differences are larger than the tolerance.
    """
    model = copy.deepcopy(model).to("cpu", torch.float64)
    layer: Any = model.get_submodule(name)
    images = images[:1].detach().cpu()
    images = images.double() if images.is_floating_point() else images
    with in_eval_mode(model), torch.no_grad():
        with _random_features(layer, moved=False) as before:
            clean = as_logits(model(images))
        with _random_features(layer, moved=True) as after:
            moved = as_logits(model(images))
    if len(before) != 1 or len(after) != 1:
        raise ValueError(f"`layer` must run once per forward pass, got {len(before)} runs of {name!r}.")
    if torch.equal(before[0], after[0]):
        raise ValueError(
            f"`shift` must move the positions {tuple(before[0].shape[2:])} of {name!r}, and moves nothing."
        )
    if not torch.allclose(moved, clean, rtol=0, atol=_TOLERANCE * float(clean.abs().max())):
        raise ValueError(
            f"`layer` must be followed by layers that pool over all positions; behind {name!r} moved features change "
            f"the logits by {(moved - clean).abs().max():.2g}. Choose a layer directly before global pooling."
        )


@contextmanager
def _random_features(layer: Any, moved: bool) -> Iterator[list[Tensor]]:
    """Replace the layer's output by the same random features every time, moved or not, and record what it was."""
    outputs: list[Tensor] = []
    generator = torch.Generator().manual_seed(0)

    def replace(module: Module, args: Any, output: Tensor) -> Tensor:
        features = torch.randn(output.shape, generator=generator, dtype=torch.float64)
        outputs.append(layer.moved(features) if moved else features)
        return outputs[-1]

    handle = layer.register_forward_hook(replace)
    try:
        yield outputs
    finally:
        handle.remove()
