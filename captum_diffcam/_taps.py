"""Hooks on layers for the time of one run: what the layers return is kept, and recorded from there on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import Module
from torch.utils._pytree import tree_flatten, tree_unflatten

from captum_diffcam._checks import OTHER_LAYERS
from captum_diffcam._watch import Watch


@dataclass(frozen=True)
class Tap:
    """A layer's tensor as it was when the layer ended, and what gradients are taken with respect to."""

    value: Tensor
    point: Tensor | GradientEdge


class Taps:
    """The layers' tensors by device, once the model has run inside.

    With a watch, nothing is recorded before the first of the layers; without, the caller records everything.
    """

    def __init__(self, layers: Sequence[Module], at_input: bool, watch: Watch | None, differentiable: bool) -> None:
        self.layers, self.at_input, self.watch, self.differentiable = layers, at_input, watch, differentiable
        self.thread = threading.get_ident()
        self.taps: list[dict[torch.device, list[Tap]]] = [{} for _ in layers]
        self.lent: list[Tensor] = []
        self.ran_again = [False] * len(layers)
        self.is_complete = True
        self.hooks = ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as hooks:
            for i, layer in enumerate(self.layers):
                try:
                    if self.at_input:
                        handle = layer.register_forward_pre_hook(partial(self._on_input, i), with_kwargs=True)
                    else:
                        handle = layer.register_forward_hook(partial(self._on_output, i))
                except RuntimeError as error:  # a scripted module
                    raise TypeError(f"layer: {error}. {OTHER_LAYERS}") from error
                hooks.callback(handle.remove)
            if self.watch:
                hooks.enter_context(self.watch.over(self.layers, self.at_input))
            self.hooks = hooks.pop_all()

    def __exit__(self, *error: object) -> None:
        self.hooks.close()

    def _on_input(self, i: int, module: Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        has_tensors = any(isinstance(leaf, Tensor) for leaf in tree_flatten(args)[0])
        return (self._keep(i, module, args), kwargs) if has_tensors else (args, self._keep(i, module, kwargs))

    def _on_output(self, i: int, module: Module, args: Any, output: Any) -> Any:
        return self._keep(i, module, output)

    def _keep(self, i: int, module: Module, value: Any) -> Any:
        # Replicas of DataParallel are other modules; the layer itself in another thread is somebody else's run.
        its_own = module is self.layers[i] and not torch.compiler.is_compiling()
        if its_own and threading.get_ident() != self.thread:
            return value
        leaves, structure = tree_flatten(value)
        places = [j for j, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        if not places:
            side = "input" if self.at_input else "output"
            raise TypeError(f"layer: {type(module).__name__} has no floating-point tensor at its {side}")
        if self.watch:
            # Behind a layer that ran before, all that has a graph has it whole.
            behind = any(self.taps)
            for tensor in (leaves[j] for j in places):
                self.is_complete &= (behind and tensor.requires_grad) or self.watch.is_unread(tensor)
            self.watch.is_over = True
        # Once for a tensor that is there twice, as the last of all levels, say: what follows reads either.
        tapped = {id(leaf): self._tap(leaf) for leaf in {id(leaves[j]): leaves[j] for j in places}.values()}
        taps = []
        for j in places:
            tap, leaves[j] = tapped[id(leaves[j])]
            taps.append(tap)
        device = taps[0].value.device
        self.ran_again[i] |= device in self.taps[i]
        self.taps[i][device] = taps
        torch.set_grad_enabled(True)
        return tree_unflatten(leaves, structure)

    def _tap(self, tensor: Tensor) -> tuple[Tap, Tensor]:
        """The tap, and the tensor that the model goes on with, which what follows may change in place."""
        if tensor.requires_grad and torch.is_grad_enabled():
            if tensor.is_leaf or tensor._is_view():
                # To autograd a view that is changed in place was never read as it had been.
                self.lent.append(tensor.clone())
                return Tap(tensor, tensor), self.lent[-1]
            # Kept before such a change; the model goes on with its own tensor, because it may have put it aside.
            value = tensor.clone() if self.differentiable else tensor.detach().clone()
            return Tap(value, get_gradient_edge(tensor)), tensor
        if self.is_complete and self.watch and _may_be_written(tensor):
            # Its own tensor again, which now is made of the leaf.
            leaf = tensor.detach().clone().requires_grad_()
            with torch.enable_grad():
                return Tap(leaf, leaf), tensor.copy_(leaf)
        leaf, lent = recorded_from(tensor)
        self.lent.append(lent)
        return Tap(leaf, leaf), lent

    @property
    def was_overwritten(self) -> bool:
        """Whether the model has changed in place what stands in for a tensor that it may also have put aside."""
        return any(tensor._version for tensor in self.lent)


def recorded_from(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The tensor as a leaf, and a clone made of it, which what follows may change in place."""
    with torch.inference_mode(False), torch.enable_grad():
        # The tensor itself, because the model may have put it aside.
        leaf = as_normal(tensor).requires_grad_()
        return leaf, leaf.clone()


def as_normal(value: Any) -> Any:
    """A tensor made in inference mode as one that autograd accepts; anything else as it is."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _may_be_written(tensor: Tensor) -> bool:
    """Whether nothing else changes with the tensor."""
    return (
        type(tensor) is Tensor and tensor.layout is torch.strided and not (tensor._is_view() or tensor.is_inference())
    )
