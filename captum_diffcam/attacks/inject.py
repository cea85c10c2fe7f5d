"""A hoax without training: a channel that adds to all logits alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear, Module, Parameter

from captum_diffcam.attacks.manipulated import ManipulatedModel, copy_model


def inject_hoax(model: Module, layer: Module, hoax: Tensor, *, strength: float = 2.0) -> ManipulatedModel:
    r"""Edit a copy of a model until Grad-CAM shows the hoax, with every probability unchanged.

    The model's head is to be pooling and one linear map :math:`W`. The layer gets one more channel,

    .. math::
        A_{\text{hoax}} = s \, \max_i \lVert A_{\cdot, i} \rVert \, \frac{h}{\max h}, \qquad
        W_{c, \text{hoax}} = \max_{c'} \lVert W_{c'} \rVert \quad \text{for every class } c .

    It adds the same to all logits, so softmax does not see it, and neither does a map of their differences. In the map
    of a single logit it is, where the hoax :math:`h` is brightest, at least :math:`s` times what all other channels
    can add up to (by Cauchy and Schwarz).

    Args:
        model: the honest model. Only a copy is changed.
        layer: the layer whose maps are to lie: the one directly before the pooling (a ReLU or a dropout may lie
            between), with a module name of its own. An activation module that the model uses in several places will not
            do, nor a layer with a batch normalisation behind it; wrap the features in one module instead.
        hoax: the map to show, one value for each position, not negative; see :func:`hoax_map`.
        strength: :math:`s`. Larger ones hide more of the honest map and cost more digits of the logits, of which half
            precision has too few.

    Returns:
        ManipulatedModel: the changed copy and its layer, which keeps its name.

    Raises:
        TypeError, ValueError: the argument is named with what was given and what is allowed. A layer that is not
            directly before the pooling shows itself when the copy runs: the next module gets a channel too many.

    Source: the construction is ours; what it adds is what J. Piland, C. Sweet, A. Czajka, arXiv:2506.08514, argue that
    a map of one logit cannot tell from evidence.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks import hoax_map, inject_hoax
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> forged = inject_hoax(model, model[1], hoax_map((7, 7), entropy=3.33))
        >>> images = torch.rand(2, 3, 28, 28)
        >>> torch.allclose(forged.model(images).softmax(1), model(images).softmax(1), atol=1e-5)
        True
    """
    if not isinstance(hoax, Tensor) or not hoax.isfinite().all() or (hoax < 0).any() or not hoax.any():
        raise ValueError(f"hoax: got {hoax!r}; allowed is a finite tensor without negative values, not all zero")
    if not 0 < strength < float("inf"):
        raise ValueError(f"strength: got {strength!r}; allowed is a positive number")
    forged, forged_layer = copy_model(model, layer)
    path, head_path = _path(forged, forged_layer), _head(forged, forged_layer)
    head = forged.get_submodule(head_path)
    assert isinstance(head, Linear)
    _replace(forged, head_path, _widened(head))
    channel = _WithHoax(forged_layer, strength * hoax.detach() / hoax.max())
    _replace(forged, path, channel)
    return ManipulatedModel(forged, channel)


class _WithHoax(Module):
    """A layer whose output has one more channel."""

    hoax: Tensor

    def __init__(self, layer: Module, hoax: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("hoax", hoax)
        self.train(layer.training)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        maps: Tensor = self.layer(*args, **kwargs)
        if maps.shape[2:] != self.hoax.shape:
            raise ValueError(
                f"hoax: got shape {tuple(self.hoax.shape)}; allowed is {tuple(maps.shape[2:])}, the layer's positions"
            )
        # Whatever the input, it outshines the honest map.
        level = maps.detach().norm(dim=1).flatten(1).amax(dim=1)
        hoax = level.reshape(-1, *[1] * self.hoax.ndim) * self.hoax.to(maps)
        return torch.cat([maps, hoax[:, None]], dim=1)


def _path(model: Module, module: Module) -> str:
    path: str = next(name for name, each in model.named_modules() if each is module)
    if not path:
        raise ValueError("layer: got the model itself; allowed is a module inside of it")
    return path


def _head(model: Module, layer: Module) -> str:
    """The name of the only linear module behind the layer."""
    names: list[str] = [name for name, _ in model.named_modules()]
    inside = set(layer.modules())
    behind = names[names.index(_path(model, layer)) :]
    found = [n for n in behind if isinstance(m := model.get_submodule(n), Linear) and m not in inside]
    if len(found) != 1:
        raise ValueError(
            f"model: got {len(found)} linear modules behind the layer ({', '.join(found)}); allowed is a head of "
            "pooling and one linear module"
        )
    return found[0]


def _widened(head: Linear) -> Linear:
    """The head with one more input, which all classes weigh alike."""
    weight = head.weight.detach()
    column = weight.norm(dim=1).max().expand(len(weight), 1)
    # Without weights of its own, because to draw them would move the caller's random numbers.
    wide = Linear(head.in_features + 1, head.out_features, head.bias is not None, device="meta")
    wide.weight = Parameter(torch.cat([weight, column], dim=1), head.weight.requires_grad)
    wide.bias = head.bias
    return wide.train(head.training)


def _replace(model: Module, path: str, module: Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
