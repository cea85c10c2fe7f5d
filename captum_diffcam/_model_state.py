"""What a run of the model would leave behind in it, and what the maps of its present state are worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.jit import ScriptFunction, ScriptModule
from torch.nn import Module
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_flatten

_OF_EVERY_MODULE = frozenset(vars(Module()))
_RUNNING = ("running_mean", "running_var", "num_batches_tracked")
_PROBABILITIES_TO_DROP = ("p", "dropout", "drop_prob")
"""What the modules of torch, torchvision and timm call it: dropout, attention, stochastic depth."""


def modules_of(forward_func: Callable[..., Any], layers: Sequence[Module]) -> list[Module]:
    """The modules that a run may reach: the model's, or those that a function around it holds, and the layers."""
    found: dict[int, Module] = {}
    # Not by modules(), which makes a name for each: a small model runs hardly longer.
    waiting = [*_held_by(forward_func, depth=3), *layers]
    while waiting:
        module = waiting.pop()
        if id(module) not in found:
            found[id(module)] = module
            waiting += [child for child in module._modules.values() if child is not None]
    return list(found.values())


def _held_by(value: Any, depth: int) -> Iterator[Module]:
    """The models that a callable refers to: itself, its owner, an argument, in its closure or by a global name."""
    if isinstance(value, Module):
        yield value
    elif depth and callable(value) and not isinstance(value, type):
        for held in _references(value):
            yield from _held_by(held, depth - 1)


def _references(function: Any) -> Iterator[Any]:
    if isinstance(function, partial):
        yield from (function.func, *function.args, *function.keywords.values())
    yield getattr(function, "__self__", None)
    yield from getattr(function, "__dict__", {}).values()
    if isinstance(function, FunctionType):
        yield from map(function.__globals__.get, function.__code__.co_names)
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # a name that is not set yet
                yield cell.cell_contents


def train_mode_warnings(modules: Sequence[Module]) -> list[str]:
    """A warning where modules in train mode make maps depend on the other examples of the batch, or on chance."""
    names = sorted({type(module).__name__ for module in modules if module.training and _couples_or_drops(module)})
    if not names:
        return []
    return [
        f"forward_func: {', '.join(names)} in train mode, so a map depends on the other examples of its batch "
        "(normalisation) or on chance (dropout); model.eval() makes it that of the deployed model"
    ]


def _couples_or_drops(module: Module) -> bool:
    probabilities = (getattr(module, name, None) for name in _PROBABILITIES_TO_DROP)
    return isinstance(module, _NormBase) or any(isinstance(p, float) and 0 < p <= 1 for p in probabilities)


@contextmanager
def preserve_model_state(modules: Sequence[Module]) -> Iterator[None]:
    """Run the model inside, without a trace: running statistics do not move, and caches are emptied again.

    A cache that is filled here holds tensors of our run, from which no later backward pass could go on.
    """
    norms = [module for module in modules if module.training and isinstance(module, _NormBase)]
    statistics = [{name: module._buffers.get(name) for name in _RUNNING} for module in norms]
    dictionaries = [
        attributes[name]
        for attributes in (vars(module) for module in modules if not type(module).__module__.startswith("torch.nn."))
        for name in attributes.keys() - _OF_EVERY_MODULE
        if isinstance(attributes[name], dict)
    ]
    dictionaries.append(parametrize._cache)  # within the caller's parametrize.cached()
    entries = [dict(dictionary) for dictionary in dictionaries]
    for module, buffers in zip(norms, statistics, strict=True):
        # Lent, not put back by value: that would count as a change of what the caller's graphs have saved.
        module._buffers.update({name: buffer.clone() for name, buffer in buffers.items() if buffer is not None})
    try:
        yield
    finally:
        for module, buffers in zip(norms, statistics, strict=True):
            module._buffers.update(buffers)
        for dictionary, before in zip(dictionaries, entries, strict=True):
            for key, value in list(dictionary.items()):
                if isinstance(value, Tensor) and value is not before.get(key):
                    dictionary.pop(key)
                    dictionary.update({key: before[key]} if key in before else {})


def has_torchscript(forward_func: Callable[..., Any], modules: Sequence[Module]) -> bool:
    """Whether any of it runs outside of Python, as TorchScript: modules, or functions that their code names."""
    if any(isinstance(module, ScriptModule) for module in modules):
        return True
    # Few of the many attributes of modules are functions.
    held = [vars(module) for module in modules if not _FUNCTIONS.isdisjoint(map(type, vars(module).values()))]
    functions = (function for attributes in held for function in attributes.values())
    classes = set(map(type, modules))
    return any(_is_scripted(value, 3) for value in (forward_func, *classes, *functions))


_FUNCTIONS = {FunctionType, ScriptFunction}
_scripted: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""What was found of functions and classes, which takes longer than a small model runs."""


def _is_scripted(value: Any, depth: int) -> bool:
    """Whether it is a scripted function, or names one: a function or a class in Python, itself or through others."""
    value = getattr(value, "__func__", value)
    if isinstance(value, ScriptFunction):
        return True
    if not isinstance(value, (FunctionType, type)) or str(value.__module__).startswith("torch."):
        return False
    if depth and value not in _scripted:
        _scripted[value] = False  # as long as it is not known, for functions that call each other
        if isinstance(value, type):
            named: Iterable[Any] = (*value.__bases__, *vars(value).values()) if issubclass(value, Module) else ()
        else:
            named = _named_by(value)
        _scripted[value] = any(_is_scripted(each, depth - isinstance(value, FunctionType)) for each in named)
    return _scripted.get(value, False)


def _named_by(function: FunctionType) -> Iterator[Any]:
    """What a function may call: its closure, global names, and what modules have under a name."""
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a name that is not set yet
            yield cell.cell_contents
    names = set(_names(function.__code__))
    for found in map(function.__globals__.get, names):
        yield found
        if isinstance(found, ModuleType) and not found.__name__.startswith("torch"):
            yield from (vars(found).get(name) for name in names)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def are_alike(output: Any, again: Any) -> bool:
    """Whether what a model returned is what it returned again, but for rounding."""
    pairs = list(zip(tree_flatten(output)[0], tree_flatten(again)[0], strict=False))
    return all(
        a.shape == b.shape and torch.allclose(a, b, _rounding(a), _rounding(a) / 10, equal_nan=True)
        for a, b in pairs
        if isinstance(a, Tensor) and isinstance(b, Tensor)
    )


def _rounding(tensor: Tensor) -> float:
    return max(1e-3, torch.finfo(tensor.dtype).eps ** 0.5) if tensor.is_floating_point() else 0.0
