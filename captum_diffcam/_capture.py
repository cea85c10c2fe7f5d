"""One run of the model, cut at its layers: the output, and the layers' tensors with the gradients to them.

A map needs the gradient at a layer's output, so nothing before the layer needs a graph. The run therefore goes
unrecorded until the first layer's hook fires, and is recorded from there on. Where that is not enough, because the
tensor was read before, say, the model runs once more and the whole graph is recorded. Whoever calls does not know
which way was taken: the map is the one of the whole graph.

This is the only module that uses ``captum._utils``, which is private to Captum.
"""

from __future__ import annotations

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
from torch.utils._pytree import tree_flatten, tree_map

from captum_diffcam._checks import OTHER_LAYERS
from captum_diffcam._eager import uncompiled
from captum_diffcam._model_state import (
    are_alike,
    has_torchscript,
    modules_of,
    preserve_model_state,
    train_mode_warnings,
)
from captum_diffcam._taps import Tap, Taps, as_normal
from captum_diffcam._watch import Watch, writes_of


@contextmanager
def recording() -> Iterator[None]:
    """Record inside, whatever the caller's grad mode and inference mode, and leave both as they were."""
    cache, fast_path = torch.is_autocast_cache_enabled(), torch.backends.mha.get_fastpath_enabled()
    # Weights that autocast casts in an unrecorded run would stay in its cache, cut off from their gradients.
    torch.set_autocast_cache_enabled(False)
    # The fast path of nn.TransformerEncoder has no graph, and its nested tensors meet the gradients half-way.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        torch.set_autocast_cache_enabled(cache)


@dataclass(frozen=True)
class LayerRun:
    """What a run left: the model's output, and the tensors of each layer on every device, in the order of the batch."""

    output: Any
    parts: list[list[list[Tap]]]
    """By layer, by device, the taps of the layer's tensors."""
    input_size: tuple[int, ...]
    """Height and width of the first input, or whatever it has behind examples and channels."""
    notes: list[str]
    """What the caller should know of this run."""

    @property
    def activations(self) -> list[tuple[Tensor, ...]]:
        """Each layer's tensors for the whole batch."""
        return [_gather([[tap.value for tap in part] for part in parts]) for parts in self.parts]

    def gradients(self, scores: Tensor, grad_kwargs: Mapping[str, Any]) -> list[tuple[Tensor, ...]]:
        """The gradients of each example's score, shaped like :attr:`activations`. Shape: scores (N,)."""
        points: list[Any] = [tap.point for parts in self.parts for part in parts for tap in part]
        gradients: Sequence[Tensor | None] = [None] * len(points)
        if scores.requires_grad:
            # The gradient of the sum is each example's own, in fewer steps than from each by itself, which is how
            # grad_outputs are given.
            outputs = scores.unbind() if grad_kwargs.get("grad_outputs") is not None else (scores.sum(),)
            # Zeros are made below, where it is known of which shape.
            others = {name: value for name, value in grad_kwargs.items() if name != "materialize_grads"}
            gradients = torch.autograd.grad(outputs, points, **{"allow_unused": True, **others})
        remaining = iter(gradients)
        by_layer = [[[next(remaining) for _ in part] for part in parts] for parts in self.parts]
        if not (grad_kwargs.get("allow_unused") or grad_kwargs.get("materialize_grads")):
            _refuse_unused(by_layer)
        return [
            _gather([list(map(_or_zeros, part, its)) for part, its in zip(parts, given, strict=True)])
            for parts, given in zip(self.parts, by_layer, strict=True)
        ]


def _refuse_unused(by_layer: list[list[list[Tensor | None]]]) -> None:
    for parts in by_layer:
        unused = sorted({i for part in parts for i, gradient in enumerate(part) if gradient is None})
        if unused:
            several = len(parts[0]) > 1
            which = f" (number {', '.join(map(str, unused))} of 0 to {len(parts[0]) - 1})" if several else ""
            choose = ", or tensor_index, to explain one of them" if several else ""
            raise ValueError(
                f"layer: the score does not depend on all of the layer's tensors{which}; allowed is a layer whose "
                "tensors reach the output of forward_func through operations that autograd records, outside of "
                f"inference_mode and reentrant checkpoints{choose} (grad_kwargs={{'materialize_grads': True}} takes "
                "missing gradients as zero)"
            )


def _or_zeros(tap: Tap, gradient: Tensor | None) -> Tensor:
    return torch.zeros_like(tap.value) if gradient is None else gradient


def run_at_layers(
    forward_func: Callable[..., Any],
    layers: Sequence[Module],
    inputs: tuple[Tensor, ...],
    additional_forward_args: object,
    *,
    at_input: bool,
    tensor_index: int | None,
    device_ids: list[int] | None,
    create_graph: bool,
) -> LayerRun:
    """Run the model once, ready for gradients at the layers' outputs (or inputs). Call it within :func:`recording`.

    With ``create_graph`` the gradients are differentiable down to the weights, and to inputs that require gradients.
    """
    inputs = tuple(as_normal(tensor) for tensor in inputs)
    if isinstance(additional_forward_args, tuple):
        additional_forward_args = tuple(as_normal(value) for value in additional_forward_args)
    else:
        additional_forward_args = as_normal(additional_forward_args)
    modules = modules_of(forward_func, layers)
    held = chain.from_iterable((*m._parameters.values(), *m._buffers.values()) for m in modules)
    normalize = any(tensor.is_inference() for tensor in held if tensor is not None)

    def attempt(whole_graph: bool) -> tuple[Any, Taps]:
        taps = Taps(layers, at_input, None if whole_graph else Watch(), differentiable=create_graph)
        with (
            uncompiled(),
            # Several operators of a scripted function would be one to autograd, too.
            torch.jit.optimized_execution(False),  # type: ignore[attr-defined]
            _NormalTensors() if normalize else nullcontext(),
            preserve_model_state(modules),
            torch.set_grad_enabled(whole_graph),
            taps,
        ):
            seen = tuple(_stand_in(x, create_graph, whole_graph) for x in inputs)
            output = _run_forward(forward_func, seen, None, additional_forward_args)
            # Behind the layer, the end of a no_grad block around it switches the recording off again.
            taps.is_complete &= torch.is_grad_enabled() and not taps.was_overwritten
        return output, taps

    taps, put_back = None, _random_state(inputs)
    notes, before = train_mode_warnings(modules), None
    # DataParallel joins the outputs of its replicas outside the threads in which the layers' hooks run. What
    # TorchScript reads cannot be watched. Backward hooks of modules around the layer get gradients of their inputs.
    if not (
        create_graph
        or isinstance(forward_func, DataParallel)
        or any(module._backward_hooks for module in modules)
        or has_torchscript(forward_func, modules)
    ):
        given = [leaf for leaf in tree_flatten((inputs, additional_forward_args))[0] if isinstance(leaf, Tensor)]
        versions = list(map(writes_of, given))
        try:
            output, taps = attempt(whole_graph=False)
            before = None if taps.is_complete else output
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError:
            # The forward needs a graph before the layer, for a tensor's register_hook, say; or it has weights that were
            # made in inference mode, where they cannot be seen from here.
            normalize = True
        if taps is None or not taps.is_complete:
            if list(map(writes_of, given)) != versions:
                raise ValueError(
                    "forward_func: changes its inputs in place, and has to run twice for the map of this layer; "
                    "allowed is a model that leaves them as they are, such as lambda x: model(x.clone())"
                )
            put_back()
    if taps is None or not taps.is_complete:
        output, taps = attempt(whole_graph=True)
        if before is not None and not are_alike(before, output):
            notes.append(
                "forward_func: returned other numbers when it ran a second time, as the map of this layer needs; it "
                "keeps something from run to run, or draws random numbers that are not PyTorch's. The map and the "
                "logits are those of the second run"
            )
        if taps.was_overwritten:
            put_back()
            with torch.no_grad(), preserve_model_state(modules):
                without_taps = _run_forward(forward_func, inputs, None, additional_forward_args)
            if not are_alike(output, without_taps):
                raise ValueError(
                    "layer: what follows changes its tensor in place, and reads it by another view, too; allowed is a "
                    "layer whose tensor is read under one name, such as the next one"
                )
    found = _what_ran(taps, forward_func, device_ids, tensor_index, notes)
    return LayerRun(output, found, tuple(inputs[0].shape[2:]), notes)


def _what_ran(
    taps: Taps,
    forward_func: Callable[..., Any],
    device_ids: list[int] | None,
    tensor_index: int | None,
    notes: list[str],
) -> list[list[list[Tap]]]:
    """By layer, by device, the taps of the layer's tensors; more for the notes."""
    parts = []
    for layer, by_device, ran_again in zip(taps.layers, taps.taps, taps.ran_again, strict=True):
        name = type(layer).__name__
        if not by_device:
            raise ValueError(f"layer: {name} did not run in forward_func. {OTHER_LAYERS}")
        if ran_again:
            notes.append(f"layer: {name} runs more than once in one forward; its last run is explained")
        devices = _in_order(list(by_device), forward_func, device_ids)
        parts.append([_chosen(by_device[device], tensor_index, layer) for device in devices])
    return parts


def _chosen(taps: list[Tap], tensor_index: int | None, layer: Module) -> list[Tap]:
    if tensor_index is None:
        return taps
    if not 0 <= tensor_index < len(taps):
        shapes = ", ".join(str(tuple(tap.value.shape)) for tap in taps)
        raise IndexError(
            f"tensor_index: got {tensor_index}; {type(layer).__name__} has {len(taps)} floating-point tensor(s), of "
            f"shape {shapes}; allowed are 0 to {len(taps) - 1}"
        )
    return [taps[tensor_index]]


def _stand_in(tensor: Tensor, create_graph: bool, whole_graph: bool) -> Tensor:
    """The caller's tensor under another name, so that its ``requires_grad`` stays as it is.

    For the whole graph it requires gradients, so that all that is made of it is recorded, frozen weights or not.
    """
    if create_graph and tensor.requires_grad:
        return tensor
    tensor = tensor.detach()
    if not whole_graph or not (tensor.is_floating_point() or tensor.is_complex()):
        return tensor
    # A clone, because models may work in place on their input, which a leaf does not allow.
    return tensor.requires_grad_().clone()


class _NormalTensors(TorchFunctionMode):
    """Makes weights that were made in inference mode usable for autograd, operation by operation."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*tree_map(as_normal, args), **tree_map(as_normal, kwargs or {}))


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
