"""Which layer to explain: the library's choice, or one by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from benchmarks.common.options import UsageError
from captum_diffcam import last_spatial_layer, spatial_layers


@dataclass(frozen=True)
class Layer:
    """A module, and which side of it is meant: its output, or its input, whose name ends in ``:input``."""

    name: str
    module: nn.Module
    at_input: bool
    layout: Literal["vit", "swin"] | None = None


def choose_layer(model: nn.Module, inputs: Tensor, name: str | None = None, *, tokens: bool = False) -> Layer:
    """The layer of that name, or the last one with positions where there is no name.

    Args:
        model: the model.
        inputs: what to run it on once, to see which modules have positions.
        name: a module's name as in ``model.named_modules()``; "NAME:input" is what goes into it.
        tokens: whether layers of transformers will do, which have a layout.

    Raises:
        UsageError: there is no such layer.
    """
    if name is None:
        try:
            found = last_spatial_layer(model, inputs)
        except ValueError as error:
            raise UsageError(f"--layer: {error}") from error
    else:
        layers = {layer.name: layer for layer in spatial_layers(model, inputs)}
        if name not in layers:
            close = difflib.get_close_matches(name, layers, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            # Deep models have hundreds.
            shown = [candidate for candidate in layers if candidate.count(".") < 2]
            raise UsageError(
                f"--layer: {name!r} is no module that runs once and has positions.{hint} "
                f"Candidates, besides modules inside of these: {', '.join(shown)}"
            )
        found = layers[name]
    if found.layout and not tokens:
        raise UsageError(f"--layer: {found.name} keeps tokens, as {found.layout} does; allowed are convolutions")
    return Layer(found.name, found.layer, found.attribute_to_layer_input, found.layout)
