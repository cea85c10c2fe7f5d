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
