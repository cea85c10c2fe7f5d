"""A hoax without training: one more channel, which adds the same number to all logits."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Module, Parameter

from captum_diffcam.attacks.manipulated import ManipulatedModel, copy_model_and_output, name_of_layer, replace_module
from captum_diffcam.attribution import Layer


def inject_hoax(model: Module, layer: Layer, hoax: Tensor, *, strength: float = 2.0) -> ManipulatedModel:
    r"""Edit a copy of a model so that Grad-CAM shows the hoax while every probability stays the same.

    The model's head must be pooling and one linear layer with weights :math:`W`. The attack adds one channel to the
    layer,

    .. math::
        A_{\text{hoax}} = s \, \max_i \lVert A_{\cdot, i} \rVert \, \frac{h}{\max h}, \qquad
        W_{c, \text{hoax}} = \max_{c'} \lVert W_{c'} \rVert \quad \text{for every class } c .

    The channel adds the same number to every logit. Softmax and maps of logit differences therefore do not change. In
    the map of a single logit, the channel is at least :math:`s` times as large as all others together where the hoax
    :math:`h` is highest (by the Cauchy-Schwarz inequality).

    Args:
        model: the clean model. Only a copy is changed.
        layer: the layer whose maps are to mislead, a module, its name or a :class:`SpatialLayer
            <captum_diffcam.layers.SpatialLayer>`: the one directly before the pooling. A ReLU or dropout may lie
            between them. An activation module that the model uses in several places does not work, nor does a layer
            that is followed by batch normalisation. In these cases, wrap the features in one module.
        hoax: ``(*positions)``, the map to show, not negative; see :func:`hoax_map`.
        strength: :math:`s`, above 0. A larger strength hides more of the clean map but costs digits of the logits;
            half precision has too few of them.

    Returns:
        ManipulatedModel: the changed copy and its layer, which keeps its name.

    Raises:
        TypeError: ``model`` is not a module, or ``layer`` is none of the above.
        ValueError: ``layer`` is not inside the model, is meant by its input or has a layout; more or less than one
            linear layer follows it; ``hoax`` is negative, zero or not finite; or ``strength`` is not positive. If
            ``hoax`` does not have the layer's positions, or the layer is not directly before the pooling, the copy
            raises an error when it runs.

    Source: the construction is ours. It is a term common to all logits, which maps of one logit cannot tell from
    evidence (J. Piland, C. Sweet, A. Czajka, arXiv:2506.08514).

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks import hoax_map, inject_hoax
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> manipulated = inject_hoax(model, model[1], hoax_map((7, 7), entropy=3.33))
        >>> images = torch.rand(2, 3, 28, 28)
        >>> torch.allclose(manipulated.model(images).softmax(1), model(images).softmax(1), atol=1e-5)
        True
    """
    if not isinstance(hoax, Tensor) or not hoax.isfinite().all() or (hoax < 0).any() or not hoax.any():
        raise ValueError(f"`hoax` must be a finite tensor without negative values and not all zero, got {hoax!r}.")
    if not isinstance(strength, Real) or not 0 < float(strength) < math.inf:
        raise ValueError(f"`strength` must be a positive number, got {strength!r}.")
    copied, copied_layer = copy_model_and_output(model, layer)
    layer_name = name_of_layer(copied, copied_layer)
    head_name, head = _linear_head(copied, copied_layer, layer_name)
    replace_module(copied, head_name, _head_with_hoax(head))
    layer_with_hoax = _LayerWithHoax(copied_layer, strength * hoax.detach() / hoax.max())
    replace_module(copied, layer_name, layer_with_hoax)
    return ManipulatedModel(copied, layer_with_hoax)


class _LayerWithHoax(Module):
    """A layer with one more output channel, which holds the hoax."""

    hoax: Tensor

    def __init__(self, layer: Module, hoax: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("hoax", hoax)
        self.train(layer.training)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        activations: Tensor = self.layer(*args, **kwargs)
        if activations.shape[2:] != self.hoax.shape:
            positions = tuple(activations.shape[2:])
            raise ValueError(f"`hoax` must have the layer's positions {positions}, got shape {tuple(self.hoax.shape)}.")
        level = activations.detach().norm(dim=1).flatten(1).amax(dim=1)
        channel = level.reshape(-1, *[1] * self.hoax.ndim) * self.hoax.to(activations)
        return torch.cat([activations, channel[:, None]], dim=1)


def _linear_head(model: Module, layer: Module, layer_name: str) -> tuple[str, Linear]:
    """Return the name of the only linear module behind the layer, and the module."""
    modules = list(model.named_modules())
    start = [name for name, _ in modules].index(layer_name)
    inside = set(layer.modules())
    heads = [(name, m) for name, m in modules[start:] if isinstance(m, Linear) and m not in inside]
    if len(heads) != 1:
        names = ", ".join(name for name, _ in heads)
        raise ValueError(
            f"`model` must have exactly one linear module behind the layer, got {len(heads)} ({names}). "
            "Its head must be pooling and one linear layer."
        )
    return heads[0]


def _head_with_hoax(head: Linear) -> Linear:
    """Return the head with one more input, which has the same weight for every class."""
    weight = head.weight.detach()
    column = weight.norm(dim=1).max().expand(len(weight), 1)
    # On the meta device, because initial weights would change the caller's random state.
    widened = Linear(head.in_features + 1, head.out_features, head.bias is not None, device="meta")
    widened.weight = Parameter(torch.cat([weight, column], dim=1), head.weight.requires_grad)
    widened.bias = head.bias
    return widened.train(head.training)
