"""Everything that relies on private names of PyTorch: what a run of the model must leave as it was.

A new release of PyTorch may rename what is used here, and nothing outside of this file.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from operator import is_
from types import FunctionType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import Parameter
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

# Tensors ---------------------------------------------------------------------------------------------------------


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor, or anything that shares its memory, was changed in place."""
    return -1 if tensor.is_inference() else tensor._version


def is_view(tensor: Tensor) -> bool:
    """Return whether autograd takes the tensor for a view of another one."""
    return tensor._is_view()


def is_within_torch_func() -> bool:
    """Return whether a transform of ``torch.func`` is running, whose tensors are not those of autograd."""
    return bool(torch._C._are_functorch_transforms_active())


def without_inference(value: Any) -> Any:
    """Return a tensor made in inference mode as one that autograd accepts, and any other value as it is."""
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


class NormalTensors(TorchFunctionMode):
    """Let autograd use weights that were made in inference mode: every operation gets copies of them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(
            *map_tensors(without_inference, args, tensors_only=False),
            **map_tensors(without_inference, kwargs or {}, tensors_only=False),
        )


def map_tensors(function: Callable[[Tensor], Tensor], value: Any, *, tensors_only: bool = True) -> Any:
    """Return the value with ``function`` applied to each tensor in it.

    Tensors are looked for in tuples, named tuples, lists, mappings and dataclasses. The containers are copied; with
    ``tensors_only=False`` only builtin ones are entered, which is faster.
    """
    if isinstance(value, Tensor):
        return function(value)
    inner = partial(map_tensors, function, tensors_only=tensors_only)
    if isinstance(value, (list, tuple)):
        items = [inner(item) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return type(value)(items)
    if type(value) is dict:
        return {key: inner(item) for key, item in value.items()}
    if not tensors_only:
        return value
    if isinstance(value, MutableMapping):
        changed = {key: new for key, item in value.items() if (new := inner(item)) is not item}
        if not changed:
            return value
        copied = copy.copy(value)
        for key, item in changed.items():
            copied[key] = item
        return copied
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
        new_fields = {name: inner(getattr(value, name)) for name in names}
        of_class: Any = copy.copy(value)
        for name, item in new_fields.items():
            object.__setattr__(of_class, name, item)
        return of_class
    return value


def has_tensors(value: Any) -> bool:
    """Return whether :func:`map_tensors` finds a tensor in the value."""
    tensors: list[Tensor] = []
    map_tensors(lambda tensor: tensors.append(tensor) or tensor, value)  # type: ignore[func-returns-value]
    return bool(tensors)


# Switches of the process or thread -------------------------------------------------------------------------------


class _SharedContext:
    """A context that holds for the whole process: the first thread enters it, the last one leaves it."""

    def __init__(self, enter: Callable[[], AbstractContextManager[Any]]) -> None:
        self._enter, self._lock, self._count = enter, threading.Lock(), 0
        self._context: AbstractContextManager[Any] = nullcontext()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._count:
                self._context = self._enter()
                self._context.__enter__()
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    self._context.__exit__(None, None, None)


@contextmanager
def _without_fast_path() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


# The fast path of nn.TransformerEncoder has no graph, and is taken where nothing before it requires gradients.
_no_fast_path = _SharedContext(_without_fast_path)

# To autograd a compiled graph is one function. If the layer's tensor and the logits are both outputs of it, neither has
# a gradient with respect to the other.
_run_eagerly = _SharedContext(lambda: torch.compiler.set_stance("force_eager"))

# PyTorch's own recurrent layers have a backward pass in eval mode, too. There is no switch for recurrent layers alone.
recurrent_layers_without_cudnn = _SharedContext(lambda: torch.backends.cudnn.flags(enabled=False))


@contextmanager
def differentiable_operations() -> Iterator[None]:
    """Run every operation of a model inside as one that autograd records by itself."""
    with ExitStack() as stack:
        stack.enter_context(_no_fast_path())
        # Nothing is compiled before Dynamo is imported, which takes seconds.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(_run_eagerly())
        # TorchScript fuses operations into one node of the graph. The switch is the thread's own.
        if unfused := getattr(getattr(torch, "jit", None), "optimized_execution", None):
            stack.enter_context(unfused(False))
        yield


@contextmanager
def preserve_random_state(tensors: Iterable[Tensor]) -> Iterator[Callable[[], None]]:
    """Put PyTorch's random numbers back after the block, on the CPU and on the GPUs of the tensors.

    Yields a function that puts them back at once, for a second run. Where nothing was drawn, nothing is put back, so
    that other threads may draw meanwhile.
    """
    devices = {tensor.device for tensor in tensors if tensor.is_cuda}
    on_cpu, on_gpus = torch.get_rng_state(), {device: torch.cuda.get_rng_state(device) for device in devices}

    def put_back() -> None:
        if not torch.get_rng_state().equal(on_cpu):
            torch.set_rng_state(on_cpu)
        for device, state in on_gpus.items():
            torch.cuda.set_rng_state(state, device)

    try:
        yield put_back
    finally:
        put_back()


# The model -------------------------------------------------------------------------------------------------------


def modules_of(forward_func: Callable[..., Any], layers: Sequence[Module] = ()) -> list[Module]:
    """Return the modules that a run may reach: those of the model, or that a function around it refers to."""
    reached: dict[int, Module] = {}
    # Not by modules(), which makes a name for each: a small model hardly takes longer to run.
    waiting = [*layers, *reversed(list(_referenced_modules(forward_func, depth=3)))]
    while waiting:
        module = waiting.pop()
        if id(module) not in reached:
            reached[id(module)] = module
            if children := module._modules:
                waiting += [child for child in children.values() if child is not None]
    return list(reached.values())


def _referenced_modules(value: Any, depth: int) -> Iterator[Module]:
    """Yield the models that a callable refers to: itself, its owner, arguments, its closure and global names."""
    if isinstance(value, Module):
        yield value
    elif depth and callable(value) and not isinstance(value, type):
        for reference in _references(value):
            yield from _referenced_modules(reference, depth - 1)


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


_DROP_PROBABILITIES = ("p", "dropout", "drop_prob")
"""The attributes in which torch, torchvision and timm keep it: dropout, attention, stochastic depth."""


def train_mode_warning(modules: Sequence[Module]) -> str | None:
    """Return a warning if modules in train mode make a map depend on the rest of its batch, or on chance."""
    names = sorted({type(m).__name__ for m in modules if m.training and (isinstance(m, _NormBase) or _drops(m))})
    if not names:
        return None
    return (
        f"`forward_func` has modules in train mode ({', '.join(names)}), so a map depends on the other examples of its "
        "batch (normalisation) or on chance (dropout). Call model.eval() for the maps of the deployed model."
    )


def _drops(module: Module) -> bool:
    probabilities = (getattr(module, name, None) for name in _DROP_PROBABILITIES)
    return any(isinstance(p, float) and 0 < p <= 1 for p in probabilities)


# What a run stores in the model ----------------------------------------------------------------------------------

_lock = threading.Lock()
_preserved: dict[int, _ModuleState] = {}
"""The states of the modules that are running, by module. Runs that overlap share them."""


@contextmanager
def preserve_model_state(modules: Sequence[Module]) -> Iterator[None]:
    """Run the model inside, and put back its buffers and the tensors that it stores on itself.

    Buffers are replaced by copies for the run instead of being put back by value: that would count as a change of
    tensors that the caller's graphs have saved. If a module stores another tensor on itself (as an attribute, or in a
    list or dictionary), its attributes are put back. Our graph hangs on such a tensor, and no later backward pass of
    the caller's could go through it.
    """
    copies, running = _Copies(), list[Module]()
    cache = parametrize._cache  # of a caller within parametrize.cached()
    cached = dict(cache)
    try:
        with _lock:
            for module in filter(_may_store, modules):
                if id(module) not in _preserved:
                    _preserved[id(module)] = _ModuleState(module, copies)
                _preserved[id(module)].runs += 1
                running.append(module)
        yield
    finally:
        cache.clear()
        cache.update(cached)
        with _lock:
            for module in running:
                state = _preserved[id(module)]
                state.runs -= 1
                if not state.runs:
                    del _preserved[id(module)]
                    state.put_back()


def _may_store(module: Module) -> bool:
    """Return whether a run may change what the module stores: not for most modules of torch.nn in eval mode."""
    if not type(module).__module__.startswith("torch.nn.modules."):
        return True
    # Pruning, and weight and spectral normalisation of the older kind, store weights before every forward.
    return bool(module._forward_pre_hooks or (module.training and module._buffers))


class _Copies:
    """The tensors that a run may change in place, each with its copy, and the containers that were looked into."""

    def __init__(self) -> None:
        self.by_original: dict[int, Tensor] = {}
        self.originals: dict[int, Tensor] = {}
        self.visited: set[int] = set()

    def copy(self, tensor: Tensor) -> Tensor:
        """Return the copy of a tensor, one for all who share it."""
        if id(tensor) not in self.by_original:
            copied = tensor.clone()
            self.by_original[id(tensor)], self.originals[id(copied)] = copied, tensor
        return self.by_original[id(tensor)]

    def original(self, value: Any) -> Any:
        """Return the original of a copy, and any other value as it is."""
        return self.originals.get(id(value), value)


class _ModuleState:
    """What a module stores: buffers, attributes, and the lists, dictionaries and objects among these."""

    def __init__(self, module: Module, copies: _Copies) -> None:
        self.module, self.kind, self.copies, self.runs = module, type(module), copies, 0
        self.containers: list[_Entries] = []
        """Buffers, attributes, and the containers among them."""
        # A lazy module changes for good when it runs for the first time. One of TorchScript has no dictionaries.
        is_lazy = isinstance(module, LazyModuleMixin) and module.has_uninitialized_params()
        if is_lazy or not isinstance(module._buffers, dict):
            return
        self._keep(module._buffers)
        # Those of torch.nn.parallel hold the tensors of the module that they wrap.
        if not type(module).__module__.startswith("torch.nn.parallel."):
            for value in self._keep(vars(module), _OF_EVERY_MODULE):
                self._look_into(value, depth=3)

    def _look_into(self, value: Any, depth: int) -> None:
        """Keep the entries of a container, and of the containers in it."""
        if not depth or id(value) in self.copies.visited:
            return
        self.copies.visited.add(id(value))
        inner: Iterable[Any] = ()
        if isinstance(value, tuple):
            inner = value
        elif isinstance(value, (dict, list, deque)):
            inner = self._keep(value)
        elif _is_object_of_the_model(value):
            inner = self._keep(vars(value))
        for item in inner:
            if type(item) not in _PLAIN:
                self._look_into(item, depth - 1)

    def _keep(self, container: Any, without: Set[str] = frozenset()) -> list[Any]:
        """Keep the entries of a container, and return those in which there may be tensors."""
        entries = _Entries(container)
        self.containers.append(entries)
        return entries.copy_tensors(self.copies, without) if container else []

    def put_back(self) -> None:
        """Put back what the run has stored, unless a lazy module has become another one."""
        if type(self.module) is not self.kind:
            return
        changed = [entries for entries in self.containers if entries.were_changed(self.copies)]
        # Numbers beside such a tensor belong to it, such as the length up to which a table has been made.
        attributes = vars(self.module)
        for entries in self.containers if changed else ():
            if entries in changed or entries.container is attributes:
                entries.put_back()


class _Entries:
    """The entries of one dictionary or list. For the run, tensors in it are replaced by copies."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.before = self._now()
        self.has_copies = False

    def _now(self) -> dict[Any, Any]:
        return dict(self.container if isinstance(self.container, dict) else enumerate(self.container))

    def copy_tensors(self, copies: _Copies, without: Set[str]) -> list[Any]:
        """Replace tensors by copies, and return the other entries that are not plain values."""
        others = []
        for key in self.before.keys() - without:
            value = self.before[key]
            if type(value) in _PLAIN:
                continue
            if isinstance(value, Tensor):
                if not (isinstance(value, Parameter) or value._is_view()):
                    self.container[key] = copies.copy(value)
                    self.has_copies = True
            else:
                others.append(value)
        return others

    def were_changed(self, copies: _Copies) -> bool:
        """Replace copies by their originals, and return whether the run has stored other tensors."""
        # Most modules of most models store nothing, and a small model runs hardly longer than this takes.
        if not self.has_copies and len(self.container) == len(self.before):
            values = self.container.values() if isinstance(self.container, dict) else self.container
            if all(map(is_, values, self.before.values())):
                return False
        now = self._now()
        for key, value in now.items():
            if (original := copies.original(value)) is not value:
                self.container[key] = now[key] = original
        changed = [key for key in {**now, **self.before} if now.get(key) is not self.before.get(key)]
        return any(has_tensors(entries.get(key)) for key in changed for entries in (now, self.before))

    def put_back(self) -> None:
        """Put back tensors, containers of tensors, and plain values."""
        if not isinstance(self.container, dict):
            self.container.clear()
            self.container.extend(self.before.values())
            return
        for key, value in self._now().items():
            before = self.before.get(key)
            if value is not before and (type(value) in _PLAIN or has_tensors(value) or has_tensors(before)):
                del self.container[key]
        self.container.update({key: value for key, value in self.before.items() if key not in self.container})


_OF_EVERY_MODULE = frozenset(vars(Module()))
_PLAIN = frozenset({int, float, bool, complex, str, type(None), torch.Size, torch.dtype, torch.device})


def _is_object_of_the_model(value: Any) -> bool:
    """Return whether it is an object, such as a cache, in which a model may store tensors."""
    if isinstance(value, (Module, Tensor, type, FunctionType)) or type(getattr(value, "__dict__", None)) is not dict:
        return False
    if isinstance(value, SimpleNamespace):
        return True
    library = type(value).__module__.partition(".")[0]
    return library not in sys.stdlib_module_names and library not in ("torch", "numpy")


def device_order(devices: Sequence[torch.device], device_ids: Sequence[int]) -> list[torch.device]:
    """Return the devices in the order of ``device_ids``."""
    by_index = {device.index: device for device in devices}
    return [by_index[index] for index in device_ids if index in by_index]
