"""What a forger hands over: a copy of the model, and the copy's layer."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch.nn import Module


class ManipulatedModel(NamedTuple):
    """A model whose maps lie, beside the honest one, which is as it was.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks import ManipulatedModel, hoax_map, inject_hoax
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> forged = inject_hoax(model, model[1], hoax_map((7, 7), entropy=3.33))
        >>> isinstance(forged, ManipulatedModel), forged.layer is forged.model[1], forged.layer is model[1]
        (True, True, False)
    """

    model: Module
    """The changed copy."""
    layer: Module
    """The layer of the copy whose maps lie. The honest model's layer is no part of the copy."""
    history: tuple[tuple[float, float], ...] = ()
    """Decision loss and map loss of every training step."""


def check_model(model: Module, layer: Module) -> None:
    """Raise an error where they are no modules, or the one is no part of the other."""
    for name, module in (("model", model), ("layer", layer)):
        if not isinstance(module, Module):
            raise TypeError(f"{name}: got {type(module).__name__}; allowed is a torch.nn.Module")
    if not any(module is layer for module in model.modules()):
        raise ValueError(f"layer: got a {type(layer).__name__} that is no part of the model; allowed is one that is")


def copy_model(model: Module, layer: Module) -> tuple[Module, Module]:
    """A copy of the model without gradients, and the copy's layer."""
    check_model(model, layer)
    # Copied together, so that the one is part of the other.
    copied, copied_layer = copy.deepcopy((model, layer))
    copied.zero_grad(set_to_none=True)
    return copied, copied_layer


@contextmanager
def in_eval_mode(model: Module) -> Iterator[None]:
    """Eval mode inside, and afterwards every module in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
