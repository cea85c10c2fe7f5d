"""One run of the model, cut at a layer: the output, and the layer's tensors with the gradients to them.

A map needs the gradient at one layer, so nothing before the layer needs a graph. The run therefore goes unrecorded
until the layer's hook fires, and is recorded from there on. Some models need the whole graph; that is noticed here, and
they are run again. Whoever calls does not know which way was taken.

This is the only module that uses ``captum._utils``, which is private to Captum.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import torch
from captum._utils.common import _run_forward, _sort_key_list
from torch import Tensor
from torch.nn import DataParallel, Module
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

_Tensors: TypeAlias = dict[torch.device, list[Tensor]]
"""The layer's tensors by device: more than one where DataParallel runs replicas."""


@contextmanager
def recording() -> Iterator[None]:
    """Record inside, whatever the caller's grad mode and inference mode, and leave both as they were."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@dataclass(frozen=True)
class LayerRun:
    """What a run left: the model's output, and the layer's tensors on every device, in the order of the batch."""

    output: Any
    parts: list[list[Tensor]]

    @property
    def activations(self) -> tuple[Tensor, ...]:
        """The layer's tensors for the whole batch."""
        return _gather(self.parts)

    def gradients(self, scores: Tensor, grad_kwargs: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """The gradients of each example's score, shaped like :attr:`activations`. Shape: scores (N,)."""
        tensors = list(chain(*self.parts))
        gradients: Sequence[Tensor | None] = [None] * len(tensors)
        if scores.requires_grad:
            # An empty batch unbinds into nothing, which autograd refuses; its sum has the empty gradient.
            outputs = scores.unbind() or (scores.sum(),)
            gradients = torch.autograd.grad(outputs, tensors, **{"allow_unused": True, **grad_kwargs})
        may_be_unused = grad_kwargs.get("allow_unused") or grad_kwargs.get("materialize_grads")
        if not may_be_unused and any(gradient is None for gradient in gradients):
            raise ValueError(
                "layer: the score does not depend on all of the layer's tensors; allowed is a layer whose tensors "
                "reach the output of forward_func (grad_kwargs={'materialize_grads': True} takes missing gradients as "
                "zero)"
            )
        filled = [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, gradients, strict=True)]
        width = len(self.parts[0])
        return _gather([filled[i : i + width] for i in range(0, len(filled), width)])


def run_at_layer(
    forward_func: Callable[..., Any],
    layer: Module,
    inputs: Tensor | tuple[Tensor, ...],
    additional_forward_args: object,
    *,
    at_input: bool,
    device_ids: list[int] | None,
    whole_graph: bool,
) -> LayerRun:
    """Run the model once, ready for gradients at the layer's output (or input). Call it within :func:`recording`.

    With ``whole_graph`` the graph before the layer is kept, so that gradients are differentiable down to the weights.
    """
    inputs, additional_forward_args = tree_map(_as_normal, (inputs, additional_forward_args))
    module = forward_func if isinstance(forward_func, Module) else layer
    has_inference_weights = any(tensor.is_inference() for tensor in chain(module.parameters(), module.buffers()))

    def attempt(whole_graph: bool) -> tuple[Any, _Tensors, bool]:
        normal = _NormalTensors() if has_inference_weights else nullcontext()
        with normal, torch.set_grad_enabled(whole_graph), _tap(layer, at_input, whole_graph) as tensors:
            output = _run_forward(forward_func, inputs, None, additional_forward_args)
            return output, tensors, torch.is_grad_enabled()

    complete = False
    # DataParallel joins the outputs of its replicas outside the threads in which the layer's hooks run.
    if not whole_graph and not isinstance(forward_func, DataParallel):
        # RuntimeError: the forward itself needs a graph before the layer, for a tensor's register_hook, say.
        with suppress(RuntimeError):
            output, tensors, complete = attempt(whole_graph=False)
    # Not complete: behind the layer, the end of a no_grad block around it has switched the recording off again.
    if not complete:
        output, tensors, _ = attempt(whole_graph=True)
    if not tensors:
        copied = isinstance(forward_func, Module) and all(layer is not module for module in forward_func.modules())
        hint = " and is not one of its modules: a copy of a model has layers of its own" if copied else ""
        raise ValueError(f"layer: {type(layer).__name__} did not run in forward_func{hint}")
    return LayerRun(output, [tensors[device] for device in _in_order(list(tensors), forward_func, device_ids)])


@contextmanager
def _tap(layer: Module, at_input: bool, whole_graph: bool) -> Iterator[_Tensors]:
    """Hook the layer: keep its tensors by device, and record from there on."""
    kept: _Tensors = {}
    thread = threading.get_ident()

    def cut(value: Any) -> Any:
        if not whole_graph and threading.get_ident() != thread:
            return value  # Somebody else is running the same model.
        leaves, structure = tree_flatten(value)
        tensors = []
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                tensor, leaves[i] = _cut(leaf, whole_graph)
                tensors.append(tensor)
        name = type(layer).__name__
        if not tensors:
            raise TypeError(f"layer: {name} has no floating-point tensor at its {'input' if at_input else 'output'}")
        device = tensors[0].device
        if device in kept:
            warnings.warn(f"layer: {name} runs more than once in one forward; its last run is explained", stacklevel=2)
        kept[device] = tensors
        torch.set_grad_enabled(True)
        return tree_unflatten(leaves, structure)

    def on_input(module: Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        has_tensors = any(isinstance(leaf, Tensor) for leaf in tree_flatten(args)[0])
        return (cut(args), kwargs) if has_tensors else (args, cut(kwargs))

    def on_output(module: Module, args: Any, output: Any) -> Any:
        return cut(output)

    try:
        if at_input:
            handle = layer.register_forward_pre_hook(on_input, with_kwargs=True)
        else:
            handle = layer.register_forward_hook(on_output)
    except RuntimeError as error:  # a scripted module
        raise TypeError(f"layer: {error}") from error
    with handle:
        yield kept


def _cut(tensor: Tensor, whole_graph: bool) -> tuple[Tensor, Tensor]:
    """The tensor to take gradients at, and the one that the model goes on with."""
    with recording():
        if not (whole_graph and tensor.requires_grad):
            tensor = _as_normal(tensor).detach().requires_grad_()
        # A clone, because what follows may work in place.
        return tensor, tensor.clone()


def _as_normal(value: Any) -> Any:
    """A tensor made in inference mode as one that autograd accepts; anything else as it is."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


class _NormalTensors(TorchFunctionMode):
    """Makes weights that were made in inference mode usable for autograd, operation by operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*tree_map(_as_normal, args), **tree_map(_as_normal, kwargs or {}))


def _in_order(devices: list[torch.device], forward_func: Any, device_ids: list[int] | None) -> list[torch.device]:
    """The devices in the order in which DataParallel dealt out the batch."""
    ids = getattr(forward_func, "device_ids", None) if device_ids is None else device_ids
    if len(devices) > 1 and ids is None:
        raise ValueError(f"device_ids: got None; the layer ran on {devices}, so their order must be given")
    return _sort_key_list(devices, ids)


def _gather(parts: list[list[Tensor]]) -> tuple[Tensor, ...]:
    if len(parts) == 1:
        return tuple(parts[0])
    return tuple(torch.cat([t.to(same[0].device) for t in same]) for same in zip(*parts, strict=True))
