"""Checks of arguments, and warnings that point at the caller's line.

An error says what must hold, what came and what to do: "`k` must be an integer >= 1, got 0."
"""

from __future__ import annotations

import operator
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import captum.log
import numpy as np
import torch
from torch import Tensor

_Method = TypeVar("_Method", bound=Callable[..., Any])

_GRAD_KWARGS = (
    *("allow_unused", "create_graph", "grad_outputs", "is_grads_batched"),
    *("materialize_grads", "retain_graph"),
)

_INSIDE = tuple(os.path.dirname(os.path.abspath(file)) + os.sep for file in (__file__, captum.__file__, torch.__file__))


def log_usage(method: _Method) -> _Method:
    """Decorate a method with Captum's ``log_usage``, and keep its type for type checkers.

    NoiseTunnel calls ``attribute.__wrapped__``, which that decorator sets.
    """
    logged: _Method = captum.log.log_usage(part_of_slo=True)(method)
    return logged


def as_index(argument: str, item: Any, must_be: str) -> int:
    """Return the item as an index, or raise a TypeError that names the argument. A boolean is not an index."""
    try:
        if not isinstance(item, bool) and "bool" not in str(getattr(item, "dtype", "")):
            return operator.index(item)
    except TypeError:
        pass
    raise TypeError(f"`{argument}` must be {must_be}, got {item!r} of type {type(item).__name__}.")


def as_class(argument: str, item: Any, must_be: str) -> int:
    """Return the item as a class index, with a remedy for class names in the error."""
    if isinstance(item, str):
        raise TypeError(
            f"`{argument}` must hold class indices, got the string {item!r}. If it is the name of a class, look up its "
            f"index, such as names.index({item!r})."
        )
    return as_index(argument, item, must_be)


def as_count(argument: str, value: Any) -> int:
    """Return the value as an integer >= 1, or raise an error that names the argument."""
    count = as_index(argument, value, "an integer >= 1")
    if count < 1:
        raise ValueError(f"`{argument}` must be an integer >= 1, got {count}.")
    return count


def as_tensor(argument: str, value: Any) -> Tensor:
    """Return a tensor unchanged, and a NumPy array as a tensor on the CPU with the array's dtype."""
    if isinstance(value, Tensor):
        return value
    if value.dtype.kind not in "biufc":
        raise TypeError(f"`{argument}` must hold numbers, got an array of dtype {value.dtype}.")
    # A copy, because a tensor cannot share memory that is read-only, has negative strides or a foreign byte order.
    return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))


def as_inputs(inputs: Any) -> tuple[Tensor, ...]:
    """Return the model's inputs as a tuple of tensors."""
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    if not parts or not all(isinstance(part, (Tensor, np.ndarray)) for part in parts):
        names = [type(part).__name__ for part in parts]
        got = f"({', '.join(names)})" if isinstance(inputs, tuple) else names[0]
        remedy = ""
        if isinstance(inputs, dict):
            remedy = " Pass its tensors, and as `forward_func` a function such as lambda x: model(pixel_values=x)."
        raise TypeError(f"`inputs` must be a tensor or NumPy array, or a tuple of them, got {got}.{remedy}")
    return tuple(as_tensor("inputs", part) for part in parts)


def as_further_args(additional_forward_args: Any) -> tuple[Any, ...]:
    """Return the further arguments of a model as a tuple: None is none of them, and anything but a tuple is one."""
    if additional_forward_args is None:
        return ()
    return additional_forward_args if isinstance(additional_forward_args, tuple) else (additional_forward_args,)


def as_grad_kwargs(grad_kwargs: Any) -> dict[str, Any]:
    """Return the keyword arguments of :func:`torch.autograd.grad`, an empty dict for None."""
    if not isinstance(grad_kwargs, (dict, type(None))):
        raise TypeError(f"`grad_kwargs` must be a dict or None, got {type(grad_kwargs).__name__}.")
    for name in grad_kwargs or {}:
        if name not in _GRAD_KWARGS:
            raise TypeError(f"`grad_kwargs` must have keys among {', '.join(_GRAD_KWARGS)}, got {name!r}.")
    return grad_kwargs or {}


def warn_user(message: str) -> None:
    """Warn with the line of the first caller outside of this library, Captum and torch."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and os.path.abspath(frame.f_code.co_filename).startswith(_INSIDE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
