"""Choose the layer to explain: by name, or the last layer with spatial positions."""

from __future__ import annotations

import difflib

from torch import Tensor, nn

from benchmarks.common.options import UsageError
from captum_diffcam import last_spatial_layer, spatial_layers
from captum_diffcam.layers import SpatialLayer


def choose_layer(model: nn.Module, inputs: Tensor, name: str | None = None, *, tokens: bool = False) -> SpatialLayer:
    """Return the layer of that name, or the last layer with positions if there is no name.

    Args:
        model: the model.
        inputs: an input to run the model on once, to see which modules have positions.
        name: a module's name as in ``model.named_modules()``; "NAME:input" is the input of that module.
        tokens: whether layers of transformers, which need a layout, can be used.

    Raises:
        UsageError: there is no such layer.
    """
    if name is None:
        try:
            layer = last_spatial_layer(model, inputs)
        except ValueError as error:
            raise UsageError(f"--layer: {error}") from error
    else:
        layers = {layer.name: layer for layer in spatial_layers(model, inputs)}
        if name not in layers:
            close = difflib.get_close_matches(name, layers, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            # Deep models have hundreds of layers.
            outer = [candidate for candidate in layers if candidate.count(".") < 2]
            raise UsageError(
                f"--layer must be a module that runs once and has positions, got {name!r}.{hint} "
                f"Candidates, besides modules inside of these: {', '.join(outer)}"
            )
        layer = layers[name]
    if layer.layout and not tokens:
        raise UsageError(f"--layer must be convolutional, got {layer.name}, which holds tokens ({layer.layout})")
    return layer
