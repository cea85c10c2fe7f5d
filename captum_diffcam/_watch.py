"""Who has read a tensor before the recording starts at it: what a map without the whole graph must know.

A tensor has a gradient through everything that reads it. Where only what follows a layer's hook is recorded, readers
that came before are missed. The watch sees the calls of PyTorch while nothing is recorded, and tells whether there were
any. It does not see what TorchScript calls.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

_NUMBERS = frozenset({int, float, bool, torch.Size})
_PLAIN = _NUMBERS | {str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format}
_MAY_RETURN_THEIR_INPUT = (nn.Identity, nn.modules.dropout._DropoutNd)


class Watch(TorchFunctionMode):
    """Follows every tensor that is made inside. Identities are enough: a tensor's is free again only after its end."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun = False
        self.is_over = False
        """What comes is recorded, and of no interest."""
        self.is_blind = False
        """Tensors stood behind those of a transform of ``torch.func``, which read them unseen."""
        self._made: set[int] = set()
        self._read: set[int] = set()
        self._viewed: set[int] = set()

    @contextmanager
    def over(self, layers: Sequence[nn.Module], at_input: bool) -> Iterator[None]:
        """Watch inside: from where the layers' tensors are made, or from the start if that is unknown."""
        starts = [None if at_input else _last_maker(layer) for layer in layers]
        with ExitStack() as hooks:
            if None in starts:
                hooks.enter_context(self)
            else:
                for layer, start in zip(layers, starts, strict=True):
                    for handle in _Window(self).hooks(layer, start or layer):
                        hooks.callback(handle.remove)
            yield

    def is_unread(self, tensor: Tensor) -> bool:
        """Whether nobody has read the tensor: it was made inside, and is no argument of any call."""
        return not self.is_blind and id(tensor) in self._made and id(tensor) not in self._read | self._viewed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.is_over:
            return func(*args, **(kwargs or {}))
        self.is_blind |= torch._C._are_functorch_transforms_active()
        given = _tensors(args, kwargs)
        versions = [writes_of(tensor) for tensor in given]
        result = func(*args, **(kwargs or {}))
        # The commonest in few steps, because every call of the model comes by here: a number, a shape, one new tensor.
        if type(result) in _NUMBERS and func is not Tensor.data_ptr:
            return result
        if type(result) is Tensor and all(tensor is not result for tensor in given):
            self._read.update(map(id, given))
            self._is_made(result)
            return result
        made = _tensors((result,), None)
        for tensor, version in zip(given, versions, strict=True):
            if not any(tensor is other for other in made):
                # A call that answers with numbers, a shape, say, is no reader; one that answers nothing may have
                # written the tensor elsewhere, and who has its address or its array may do anything.
                if made or not _is_plain(result) or func is Tensor.data_ptr:
                    self._read.add(id(tensor))
            elif writes_of(tensor) != version and not tensor._is_view():
                # Changed in place, it is another tensor to autograd, which nothing but its views has read.
                self._read.discard(id(tensor))
        for tensor in made:
            if not any(tensor is other for other in given):
                self._is_made(tensor)
                if len(made) > 1 and isinstance(func, FunctionType):
                    # One of several results may have been made from another, in Python that is not seen here.
                    self._read.add(id(tensor))
        return result

    def _is_made(self, tensor: Tensor) -> None:
        """A tensor that was not there before, whatever had its identity."""
        self._made.add(id(tensor))
        self._read.discard(id(tensor))
        self._viewed.discard(id(tensor))
        if tensor._is_view():
            self._viewed.add(id(tensor._base))


class _Window:
    """The time from where a layer's last module starts to where the layer ends."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.thread = watch, threading.get_ident()
        self.layer_runs = self.is_open = False

    def hooks(self, layer: nn.Module, start: nn.Module) -> Iterator[RemovableHandle]:
        """Hooks that open and close it. Modes are a stack: what is opened within a module is closed there."""
        yield layer.register_forward_pre_hook(self._enter)
        yield start.register_forward_pre_hook(self._open)
        yield layer.register_forward_hook(self._close, always_call=True)

    def _enter(self, *_: object) -> None:
        self.layer_runs |= threading.get_ident() == self.thread

    def _open(self, *_: object) -> None:
        if threading.get_ident() == self.thread and self.layer_runs and not self.watch.has_begun:
            self.watch.has_begun = self.is_open = True
            self.watch.__enter__()  # type: ignore[no-untyped-call]

    def _close(self, *_: object) -> None:
        if threading.get_ident() == self.thread:
            if self.is_open:
                self.watch.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self.layer_runs = self.is_open = False


def _last_maker(layer: nn.Module) -> nn.Module | None:
    """The module within the layer that makes the tensor which the layer returns; None where it may be its input."""
    while type(layer).forward is nn.Sequential.forward:
        makers = [child for child in layer.children() if not _may_return_its_input(child)]
        if not makers:
            return None
        layer = makers[-1]
    return None if _may_return_its_input(layer) else layer


def _may_return_its_input(module: nn.Module) -> bool:
    return isinstance(module, _MAY_RETURN_THEIR_INPUT) or bool(getattr(module, "inplace", False))


def _tensors(args: Sequence[Any], kwargs: dict[str, Any] | None) -> list[Tensor]:
    """All tensors among the arguments, also in lists, tuples and dictionaries."""
    found = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(value, Tensor):
            found.append(value)
        elif type(value) in _PLAIN:
            pass
        elif isinstance(value, (tuple, list)):
            if not _PLAIN.issuperset(map(type, value)):
                found += _tensors(value, None)
        elif isinstance(value, dict):
            found += _tensors((), value)
    return found


def _is_plain(result: Any) -> bool:
    """Whether it is numbers and words alone, through which nothing of a tensor is read later."""
    if isinstance(result, (tuple, list)):
        return all(map(_is_plain, result))
    return type(result) in _PLAIN and result is not None


def writes_of(tensor: Tensor) -> int:
    """How often it was changed in place, as far as it is counted."""
    return -1 if tensor.is_inference() else tensor._version
