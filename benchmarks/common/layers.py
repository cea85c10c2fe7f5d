"""Which layer to explain.

The rule: the last feature map, of shape (N, C, H, W) with H * W > 1, that a module which runs once puts out or else
takes in. It is what goes into the pooling.

Modules that run more than once do not count, because only their last run would be explained. EfficientNet-Lite0 is why
inputs count: one ReLU6 module serves the stem and the head, so the last map, the rectified one that Grad-CAM++ is
defined for, has a name of its own only as the input of the pooling.
"""

from __future__ import annotations

import difflib
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common.options import UsageError, warn

_INPUT = ":input"


@dataclass(frozen=True)
class Layer:
    """A module, and which side of it is meant: its output, or its input, whose name ends in ``:input``."""

    name: str
    module: nn.Module
    at_input: bool


def choose_layer(model: nn.Module, inputs: Tensor, name: str | None = None) -> Layer:
    """The layer of that name, or the one of the rule above where there is no name.

    Args:
        model: the model.
        inputs: what to run it on once, to see which modules have feature maps.
        name: a module's name as in ``model.named_modules()``; "NAME:input" is what goes into it.

    Raises:
        UsageError: there is no such layer.
    """
    seen = _run(model, inputs)
    layers = {layer.name: layer for layer, tensor in seen if tensor.ndim == 4 and tensor[0, 0].numel() > 1}
    if name in layers:
        return layers[name]
    put_out = {id(tensor) for layer, tensor in seen if not layer.at_input}
    # What goes into a module mostly has a name already, as what another one puts out.
    candidates = [
        layer.name
        for layer, tensor in seen
        if layer.name in layers and not (layer.at_input and (tensor is inputs or id(tensor) in put_out))
    ]
    if name is not None:
        close = difflib.get_close_matches(name, candidates, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        # Deep models have hundreds.
        shown = [candidate for candidate in candidates if candidate.count(".") < 2]
        raise UsageError(
            f"--layer: {name!r} is no module that runs once and puts out (N, C, H, W).{hint} "
            f"Candidates, besides modules inside of these: {', '.join(shown)}"
        )
    if not candidates:
        raise UsageError("--layer: no module of this model puts out a feature map (N, C, H, W)")
    layer = layers[candidates[-1]]
    if seen[-1][1].ndim == 3:
        warn(
            f"{layer.name} is followed by token layers (N, T, D), which cannot be explained here; it is an early layer"
        )
    return layer


def _run(model: nn.Module, inputs: Tensor) -> list[tuple[Layer, Tensor]]:
    """Every tensor with positions that a module which runs once takes in or puts out, in order of execution."""
    runs: Counter[str] = Counter()
    seen: list[tuple[str, Layer, Tensor]] = []

    def note(name: str, module: nn.Module, value: Any, at_input: bool) -> None:
        if isinstance(value, Tensor) and value.ndim > 2:
            # Kept alive, so that no two of them share an id.
            seen.append((name, Layer(name + _INPUT * at_input, module, at_input), value))

    def hook(name: str, module: nn.Module) -> tuple[Any, Any]:
        def before(module: nn.Module, args: tuple[Any, ...]) -> None:
            runs[name] += 1
            note(name, module, args[0] if args else None, at_input=True)

        def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            note(name, module, output, at_input=False)

        return module.register_forward_pre_hook(before), module.register_forward_hook(after)

    with ExitStack() as stack, torch.no_grad():
        for name, module in model.named_modules():
            if name:
                for handle in hook(name, module):
                    stack.enter_context(handle)
        model(inputs)
    return [(layer, tensor) for name, layer, tensor in seen if runs[name] == 1]
