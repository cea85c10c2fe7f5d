"""One run of the model, cut at a layer: the output, and the layer's tensors with the gradients to them.

A map needs the gradient at a layer's output, so nothing before the layer needs a graph. The run therefore goes
unrecorded until the layer's hook fires, and is recorded from there on. Where that is not enough the whole graph is
recorded, if need be in a second run. Whoever calls does not know which way was taken.

This is the only module that uses ``captum._utils``, which is private to Captum.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from captum._utils.common import _run_forward, _sort_key_list
from torch import Tensor
from torch.nn import DataParallel, Module
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten


@contextmanager
def recording() -> Iterator[None]:
    """Record inside, whatever the caller's grad mode and inference mode, and leave both as they were."""
    cache = torch.is_autocast_cache_enabled()
    # Weights that autocast casts in an unrecorded run would stay in its cache, cut off from their gradients.
    torch.set_autocast_cache_enabled(False)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_autocast_cache_enabled(cache)


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
                "reach the output of forward_func through operations that autograd records, outside of inference_mode "
                "and reentrant checkpoints (grad_kwargs={'materialize_grads': True} takes missing gradients as zero)"
            )
        filled = [torch.zeros_like(t) if g is None else g for t, g in zip(tensors, gradients, strict=True)]
        width = len(self.parts[0])
        return _gather([filled[i : i + width] for i in range(0, len(filled), width)])


def run_at_layer(
    forward_func: Callable[..., Any],
    layer: Module,
    inputs: tuple[Tensor, ...],
    additional_forward_args: object,
    *,
    at_input: bool,
    device_ids: list[int] | None,
    create_graph: bool,
) -> LayerRun:
    """Run the model once, ready for gradients at the layer's output (or input). Call it within :func:`recording`.

    With ``create_graph`` the gradients are differentiable down to the weights, and to inputs that require gradients.
    """
    inputs = tuple(_as_normal(tensor) for tensor in inputs)
    if isinstance(additional_forward_args, tuple):
        additional_forward_args = tuple(_as_normal(value) for value in additional_forward_args)
    else:
        additional_forward_args = _as_normal(additional_forward_args)
    module = forward_func if isinstance(forward_func, Module) else layer
    normalize = any(tensor.is_inference() for tensor in chain(module.parameters(), module.buffers()))

    def attempt(whole_graph: bool) -> tuple[Any, _Tap]:
        tap = _Tap(layer, at_input)
        with _NormalTensors() if normalize else nullcontext(), torch.set_grad_enabled(whole_graph), tap:
            seen = tuple(x if create_graph and x.requires_grad else _stand_in(x, at_input) for x in inputs)
            output = _run_forward(forward_func, seen, None, additional_forward_args)
            tap.is_complete = torch.is_grad_enabled()
        return output, tap

    tap = None
    # What goes into a layer may be read elsewhere too, by a skip connection, say; what comes out is read where it is
    # returned. DataParallel joins the outputs of its replicas outside the threads in which the layer's hooks run.
    if not (create_graph or at_input or isinstance(forward_func, DataParallel)):
        put_back = _random_state(inputs)
        try:
            output, tap = attempt(whole_graph=False)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError:
            # The forward needs a graph before the layer, for a tensor's register_hook, say; or it has weights that were
            # made in inference mode, where they cannot be seen from here.
            normalize = True
        if tap is None or not tap.is_complete:
            put_back()
    # Not complete: behind the layer, the end of a no_grad block around it has switched the recording off again.
    if tap is None or not tap.is_complete:
        output, tap = attempt(whole_graph=True)
    if not tap.tensors:
        copied = isinstance(forward_func, Module) and all(layer is not module for module in forward_func.modules())
        hint = " and is not one of its modules: a copy of a model has layers of its own" if copied else ""
        raise ValueError(f"layer: {type(layer).__name__} did not run in forward_func{hint}")
    if tap.ran_again:
        message = f"layer: {type(layer).__name__} runs more than once in one forward; its last run is explained"
        warnings.warn(message, stacklevel=5)
    devices = _in_order(list(tap.tensors), forward_func, device_ids)
    return LayerRun(output, [tap.tensors[device] for device in devices])


class _Tap:
    """A hook on the layer for the time of one run: it keeps the layer's tensors by device and starts the recording."""

    def __init__(self, layer: Module, at_input: bool) -> None:
        self.layer, self.at_input = layer, at_input
        self.thread = threading.get_ident()
        self.tensors: dict[torch.device, list[Tensor]] = {}
        self.ran_again = self.is_complete = False

    def __enter__(self) -> None:
        try:
            if self.at_input:
                self.handle = self.layer.register_forward_pre_hook(self._on_input, with_kwargs=True)
            else:
                self.handle = self.layer.register_forward_hook(self._on_output)
        except RuntimeError as error:  # a scripted module
            raise TypeError(f"layer: {error}") from error

    def __exit__(self, *error: object) -> None:
        self.handle.remove()

    def _on_input(self, module: Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        has_tensors = any(isinstance(leaf, Tensor) for leaf in tree_flatten(args)[0])
        return (self._keep(module, args), kwargs) if has_tensors else (args, self._keep(module, kwargs))

    def _on_output(self, module: Module, args: Any, output: Any) -> Any:
        return self._keep(module, output)

    def _keep(self, module: Module, value: Any) -> Any:
        # Replicas of DataParallel are other modules; the layer itself in another thread is somebody else's run.
        if module is self.layer and not torch.compiler.is_compiling() and threading.get_ident() != self.thread:
            return value
        leaves, structure = tree_flatten(value)
        tensors = []
        for i, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                tensor, leaves[i] = self._cut(leaf)
                tensors.append(tensor)
        if not tensors:
            side = "input" if self.at_input else "output"
            raise TypeError(f"layer: {type(module).__name__} has no floating-point tensor at its {side}")
        self.ran_again |= tensors[0].device in self.tensors
        self.tensors[tensors[0].device] = tensors
        torch.set_grad_enabled(True)
        return tree_unflatten(leaves, structure)

    def _cut(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        """The tensor to take gradients at, and the one that the model goes on with."""
        with recording():
            # The tensor itself, because the model may have put it aside; and a clone, because what follows may work in
            # place.
            tensor = _as_normal(tensor).requires_grad_()
            return tensor, tensor.clone()


def _stand_in(tensor: Tensor, require_grad: bool) -> Tensor:
    """The caller's tensor under another name, so that its ``requires_grad`` stays as it is.

    With ``require_grad`` all that is made of it is recorded, frozen weights or not.
    """
    tensor = tensor.detach()
    return tensor.requires_grad_().clone() if require_grad and tensor.is_floating_point() else tensor


def _as_normal(value: Any) -> Any:
    """A tensor made in inference mode as one that autograd accepts; anything else as it is."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


class _NormalTensors(TorchFunctionMode):
    """Makes weights that were made in inference mode usable for autograd, operation by operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*tree_map(_as_normal, args), **tree_map(_as_normal, kwargs or {}))


def _random_state(tensors: tuple[Tensor, ...]) -> Callable[[], None]:
    """What puts the random numbers back to where they are now, on the CPU and the tensors' GPUs."""
    state = torch.get_rng_state()
    states = {tensor.device: torch.cuda.get_rng_state(tensor.device) for tensor in tensors if tensor.is_cuda}

    def put_back() -> None:
        torch.set_rng_state(state)
        for device, its_state in states.items():
            torch.cuda.set_rng_state(its_state, device)

    return put_back


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
