"""Checks of arguments, for errors that name the argument, what was given and what is allowed."""

from __future__ import annotations

import operator
from typing import Any

from torch import Tensor

_GRAD_KWARGS = (
    *("allow_unused", "create_graph", "grad_outputs", "is_grads_batched"),
    *("materialize_grads", "retain_graph"),
)


def as_index(argument: str, item: Any, allowed: str) -> int:
    """The item as an index, or a TypeError that names the argument. Booleans are no indices."""
    try:
        if not isinstance(item, bool) and "bool" not in str(getattr(item, "dtype", "")):
            return operator.index(item)
    except TypeError:
        pass
    raise TypeError(f"{argument}: got {item!r} of type {type(item).__name__}; {allowed}")


def as_inputs(inputs: Any) -> tuple[Tensor, ...]:
    """The model's inputs as a tuple of tensors."""
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    if not given or not all(isinstance(tensor, Tensor) for tensor in given):
        names = [type(tensor).__name__ for tensor in given]
        got = f"({', '.join(names)})" if isinstance(inputs, tuple) else names[0]
        raise TypeError(f"inputs: got {got}; allowed is a tensor or a tuple of tensors")
    return given


def as_grad_kwargs(grad_kwargs: Any) -> dict[str, Any]:
    """The keyword arguments of :func:`torch.autograd.grad`, none where there are none."""
    if not isinstance(grad_kwargs, (dict, type(None))):
        raise TypeError(f"grad_kwargs: got {type(grad_kwargs).__name__}; allowed is a dict")
    for name in grad_kwargs or {}:
        if name not in _GRAD_KWARGS:
            raise TypeError(f"grad_kwargs: got {name!r}; allowed are {', '.join(_GRAD_KWARGS)}")
    return grad_kwargs or {}
