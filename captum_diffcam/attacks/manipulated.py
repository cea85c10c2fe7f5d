"""The result of an attack: a changed copy of the model, and the copy's layer."""

from __future__ import annotations

import copy
from typing import NamedTuple

from torch.nn import Module

from captum_diffcam.attribution import Layer
from captum_diffcam.layers import SpatialLayer
from captum_diffcam.methods import layer_of_model


class ManipulatedModel(NamedTuple):
    """A copy of a model whose maps mislead. The clean model is unchanged.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks import ManipulatedModel, hoax_map, inject_hoax
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> manipulated = inject_hoax(model, model[1], hoax_map((7, 7), entropy=3.33))
        >>> isinstance(manipulated, ManipulatedModel)
        True
        >>> manipulated.layer is manipulated.model[1], manipulated.layer is model[1]
        (True, False)
    """

    model: Module
    """The manipulated copy."""
    layer: Module
    """The layer of the copy whose maps mislead. It takes the place of the clean model's layer."""
    history: tuple[tuple[float, float], ...] = ()
    """Prediction loss and map loss of every training step."""


def copy_model(model: Module, layer: Layer) -> tuple[Module, Module | SpatialLayer]:
    """Return a copy of the model without gradients, and the copy's layer."""
    # One deepcopy of both, so that the copied layer is part of the copied model. A deepcopy has no gradients.
    return copy.deepcopy((model, layer_of_model(model, layer)))


def copy_model_and_output(model: Module, layer: Layer) -> tuple[Module, Module]:
    """Return a copy of the model and the copy's layer, whose output must be features with channels first."""
    copied, copied_layer = copy_model(model, layer)
    if isinstance(copied_layer, SpatialLayer):
        if copied_layer.attribute_to_layer_input or copied_layer.layout is not None:
            raise ValueError(f"`layer` must be the output of a module with channels first, got {copied_layer.name!r}.")
        copied_layer = copied_layer.layer
    return copied, copied_layer


def name_of_layer(model: Module, layer: Module) -> str:
    """Return the name of a layer inside the model."""
    name: str = next(name for name, module in model.named_modules() if module is layer)
    if not name:
        raise ValueError("`layer` must be a module inside the model, got the model itself.")
    return name


def replace_module(model: Module, name: str, module: Module) -> None:
    """Put a module in the place of the one with this name."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)
