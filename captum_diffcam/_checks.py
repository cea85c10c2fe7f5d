"""Checks of arguments, for errors that name the argument, what was given and what is allowed."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import captum.log
import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.jit import ScriptModule
from torch.nn import Module

_Method = TypeVar("_Method", bound=Callable[..., Any])

_GRAD_KWARGS = (
    *("allow_unused", "create_graph", "grad_outputs", "is_grads_batched"),
    *("materialize_grads", "retain_graph"),
)


def log_usage(method: _Method) -> _Method:
    """Decorate a method with Captum's ``log_usage``, and keep its type for type checkers.

    NoiseTunnel calls ``attribute.__wrapped__``, which that decorator sets.
    """
    logged: _Method = captum.log.log_usage(part_of_slo=True)(method)
    return logged


def as_index(argument: str, item: Any, allowed: str) -> int:
    """The item as an index, or a TypeError that names the argument. Booleans are no indices."""
    try:
        if not isinstance(item, bool) and "bool" not in str(getattr(item, "dtype", "")):
            return operator.index(item)
    except TypeError:
        pass
    raise TypeError(f"{argument}: got {item!r} of type {type(item).__name__}; {allowed}")


def as_tensor(argument: str, value: Any) -> Tensor:
    """A tensor as it is; a NumPy array as a copy on the CPU with the array's dtype."""
    if isinstance(value, Tensor):
        return value
    if value.dtype.kind not in "biufc":
        raise TypeError(f"{argument}: got an array of dtype {value.dtype}; allowed are arrays of numbers")
    # A copy, because tensors know neither read-only memory, negative strides nor foreign byte orders.
    return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))


def as_inputs(inputs: Any) -> tuple[Tensor, ...]:
    """The model's inputs as a tuple of tensors."""
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    if not given or not all(isinstance(single, (Tensor, np.ndarray)) for single in given):
        names = [type(single).__name__ for single in given]
        got = f"({', '.join(names)})" if isinstance(inputs, tuple) else names[0]
        raise TypeError(f"inputs: got {got}; allowed is a tensor or a tuple of tensors, or NumPy arrays")
    return tuple(as_tensor("inputs", single) for single in given)


def as_grad_kwargs(grad_kwargs: Any) -> dict[str, Any]:
    """The keyword arguments of :func:`torch.autograd.grad`, none where there are none."""
    if not isinstance(grad_kwargs, (dict, type(None))):
        raise TypeError(f"grad_kwargs: got {type(grad_kwargs).__name__}; allowed is a dict")
    for name in grad_kwargs or {}:
        if name not in _GRAD_KWARGS:
            raise TypeError(f"grad_kwargs: got {name!r}; allowed are {', '.join(_GRAD_KWARGS)}")
    return grad_kwargs or {}


def why_layer_did_not_run(forward_func: Any, layer: Module) -> str:
    """Why the hooks of a layer of the caller's did not fire, where it shows, to be put behind "did not run"."""
    modules = list(forward_func.modules()) if isinstance(forward_func, Module) else []
    foreign = all(layer is not module for module in modules)
    if isinstance(layer, ScriptModule) or (foreign and any(isinstance(module, ScriptModule) for module in modules)):
        return (
            ": TorchScript runs no hooks of the layers in a traced or scripted model; allowed are that model before "
            "tracing or scripting and a layer of it"
        )
    graphs = [module for module in modules if isinstance(module, GraphModule)]
    if graphs or type(layer) is Module:  # bare Modules are what such graphs have for containers, to hold names alone
        nodes = [node for graph in graphs for node in graph.graph.nodes]
        # A program of torch.export calls no layer, but this check of its inputs.
        calls = [str(node.target) for node in nodes if node.op == "call_module" and node.target != "_guards_fn"]
        called = f"layers that the graph calls ({', '.join(calls[-3:])}, for instance), and " if calls else ""
        return (
            ": a graph of torch.fx or torch.export runs a layer's operations in place of the layer; allowed are "
            f"{called}the model from which the graph was made, or torch.export.unflatten(program), with a layer of it"
        )
    if modules and foreign:
        return " and is not one of its modules: a copy of a model has layers of its own"
    if not modules:
        return "; a copy of a model, and one that was traced, scripted or exported, has layers of its own"
    return ""
