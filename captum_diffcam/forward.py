"""One run of the model, cut at its layers: the output, the layers' tensors, and the gradients with respect to them.

A map needs the gradient at a layer's output, so nothing before the layer has to be kept for a backward pass. The whole
run is recorded, but until the first of the layers has run, tensors that autograd wants to save are dropped. Autograd
itself tells if the gradient needs one of them. Then the model runs once more, and everything is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from functools import partial
from inspect import signature
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge, saved_tensors_hooks
from torch.nn import Module

from captum_diffcam._checks import as_further_args
from captum_diffcam._internals import (
    NormalTensors,
    device_order,
    differentiable_operations,
    has_tensors,
    is_view,
    is_within_torch_func,
    map_tensors,
    modules_of,
    preserve_model_state,
    preserve_random_state,
    recurrent_layers_without_cudnn,
    train_mode_warning,
    version_of,
    without_inference,
)
from captum_diffcam.axis_tracker import Axes, AxisTracker
from captum_diffcam.logits import at_least_float32

_Result = TypeVar("_Result")

# The largest power of two whose product with a gradient of one is finite in float16; then smaller ones.
_FLOAT16_SCALES = (2.0**15, 2.0**10, 2.0**5, 1.0)


_CUDNN_RNN = "cudnn RNN backward"
"""Words of PyTorch's error for a recurrent layer in eval mode, for which cuDNN keeps nothing for a backward pass."""


@dataclass(frozen=True)
class LayerTensor:
    """A tensor at a layer: its value when the layer ran, and what gradients are taken with respect to."""

    value: Tensor
    point: Tensor | GradientEdge
    axes: Axes | None = None
    """What its axes stand for, if they were followed."""


@dataclass(frozen=True)
class LayerRun:
    """The model's output and the tensors of each layer, of one run."""

    output: Any
    tensors: list[list[list[LayerTensor]]]
    """By layer, by device in the order of the batch, the layer's tensors."""
    inputs: tuple[Tensor, ...]
    at_input: Sequence[bool]
    """For each layer, whether its input is meant."""
    autocasts_to_float16: bool = False
    """Whether a layer ran where autocast makes float16 of what follows, even if the layer itself is in float32."""
    notes: list[str] = field(default_factory=list)
    """What the caller should know of this run."""

    @property
    def axes(self) -> list[tuple[Axes | None, ...]]:
        """What the axes of each layer's tensors stand for, if they were followed."""
        return [tuple(tensor.axes for tensor in parts[0]) for parts in self.tensors]

    @property
    def activations(self) -> list[tuple[Tensor, ...]]:
        """The tensors of each layer for the whole batch."""
        return [_gather([[tensor.value for tensor in part] for part in parts]) for parts in self.tensors]

    def gradients(self, scores: Tensor, grad_kwargs: Mapping[str, Any]) -> list[tuple[Tensor, ...]]:
        """Return the gradients of each example's score, shaped as :attr:`activations`. Shape: scores (N,).

        With float16 the score is scaled before the gradient is taken, because the gradient of a mean over many
        positions is below the smallest number; the gradients are then in float32.
        """
        half = self.autocasts_to_float16 or any(
            t.dtype == torch.float16 for t in (self.output, *(x for tensors in self.activations for x in tensors))
        )
        for scale in _FLOAT16_SCALES if half else (1.0,):
            last = scale == 1.0
            options = grad_kwargs if last else {**grad_kwargs, "retain_graph": True}
            gradients = self._gradients(scores if last else scores * scale, options)
            if last or all(gradient.isfinite().all() for of_layer in gradients for gradient in of_layer):
                break
        if not half:
            return gradients
        return [tuple(at_least_float32(gradient) / scale for gradient in of_layer) for of_layer in gradients]

    def _gradients(self, scores: Tensor, grad_kwargs: Mapping[str, Any]) -> list[tuple[Tensor, ...]]:
        points: list[Any] = [tensor.point for parts in self.tensors for part in parts for tensor in part]
        gradients: Sequence[Tensor | None] = [None] * len(points)
        if scores.requires_grad:
            # The gradient of the sum is each example's own, in fewer steps than from each by itself, which is how
            # grad_outputs are given.
            outputs = scores.unbind() if grad_kwargs.get("grad_outputs") is not None else (scores.sum(),)
            # Zeros are made below, where it is known of which shape.
            options = {name: value for name, value in grad_kwargs.items() if name != "materialize_grads"}
            try:
                gradients = torch.autograd.grad(outputs, points, **{"allow_unused": True, **options})
            except RuntimeError as error:
                if "use_reentrant=True" not in str(error):
                    raise
                raise ValueError(
                    "`forward_func` must have no reentrant checkpoint behind `layer`, because PyTorch has no gradient "
                    "of a tensor before one. Build the model with checkpoint(..., use_reentrant=False) or without them."
                ) from error
        remaining = iter(gradients)
        by_layer = [[[next(remaining) for _ in part] for part in parts] for parts in self.tensors]
        if not (grad_kwargs.get("allow_unused") or grad_kwargs.get("materialize_grads")):
            _refuse_unused(by_layer)
        return [
            _gather([list(map(_or_zeros, part, grads)) for part, grads in zip(parts, of_layer, strict=True)])
            for parts, of_layer in zip(self.tensors, by_layer, strict=True)
        ]


def _refuse_unused(by_layer: list[list[list[Tensor | None]]]) -> None:
    for parts in by_layer:
        unused = sorted({i for part in parts for i, gradient in enumerate(part) if gradient is None})
        if unused:
            several = len(parts[0]) > 1
            which = f" (number {', '.join(map(str, unused))} of 0 to {len(parts[0]) - 1})" if several else ""
            choose = " Choose one of them with `tensor_index`." if several else ""
            raise ValueError(
                f"`layer` must have tensors that the score depends on, and it does not depend on all of them{which}. "
                "The tensors must reach the output of forward_func through operations that autograd records: not "
                "detached or quantized, and outside of inference_mode, torch.func and reentrant checkpoints."
                f"{choose} grad_kwargs={{'materialize_grads': True}} takes missing gradients as zero."
            )


def _or_zeros(tensor: LayerTensor, gradient: Tensor | None) -> Tensor:
    return torch.zeros_like(tensor.value) if gradient is None else gradient


def _gather(parts: list[list[Tensor]]) -> tuple[Tensor, ...]:
    if len(parts) == 1:
        return tuple(parts[0])
    return tuple(torch.cat([t.to(same[0].device) for t in same]) for same in zip(*parts, strict=True))


@contextmanager
def recording() -> Iterator[None]:
    """Record inside, whatever the caller's grad mode and inference mode, and leave both as they were."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def explain_run(
    forward_func: Callable[..., Any],
    layers: Sequence[Module],
    inputs: tuple[Tensor, ...],
    additional_forward_args: object,
    explain: Callable[[LayerRun], _Result],
    *,
    at_input: Sequence[bool],
    tensor_index: int | None = None,
    run: int | None = None,
    device_ids: list[int] | None = None,
    create_graph: bool = False,
    follow_axes: bool = False,
) -> tuple[LayerRun, _Result]:
    """Run the model once and return the run with what ``explain`` makes of it, gradients included.

    The model runs a second time, and ``explain`` is called again, in two cases. The gradients need a tensor that was
    dropped, because it lies before the layer. Or cuDNN has no backward pass for a recurrent layer. The model, its
    inputs and PyTorch's random numbers are as before afterwards.

    Args:
        forward_func: the model, or a function around it.
        layers: the layers at which the run is cut.
        inputs: the model's inputs.
        additional_forward_args: further arguments of ``forward_func``, one or a tuple.
        explain: takes the run, and may ask for its gradients.
        at_input: for each layer, whether its input is meant instead of its output.
        tensor_index: which of a layer's floating-point tensors is meant. None: all.
        run: which run of a layer is meant that runs several times. None: the last.
        device_ids: the order of the devices of a DataParallel model.
        create_graph: keep everything, so that gradients are differentiable down to the weights.
        follow_axes: follow what the axes of the run's tensors stand for.
    """
    extra = as_further_args(additional_forward_args)
    if is_within_torch_func():
        raise ValueError(
            "`inputs` must not be tensors of a torch.func transform such as vmap or grad. Pass the batch itself: each "
            "example gets its own map."
        )
    modules = modules_of(forward_func, layers)
    # As Captum does, a function without parameters is called without inputs.
    has_parameters = isinstance(forward_func, Module) or bool(signature(forward_func).parameters)

    def call(tensors: Iterable[Tensor]) -> Any:
        return call_by_position(forward_func, (*tensors, *map(_copy, extra)) if has_parameters else ())

    def attempt(saved_tensors: saved_tensors_hooks | None, normal_tensors: bool = False) -> LayerRun:
        late = saved_tensors if isinstance(saved_tensors, _LateGraph) else None
        tracker = AxisTracker() if follow_axes else None
        captured = _Capture(layers, at_input, late, create_graph, tracker)
        stack.callback(captured.release)
        copies = tuple(_differentiable_copy(tensor, create_graph) for tensor in inputs)
        try:
            with (
                NormalTensors() if normal_tensors else nullcontext(),
                differentiable_operations(),
                preserve_model_state(modules),
                captured,
                saved_tensors or nullcontext(),
                tracker or nullcontext(),
            ):
                if tracker:
                    tracker.start(copies)
                output = call(copies)
        except RuntimeError as error:
            if "nference tensor" in str(error) and not normal_tensors:
                # A weight that was made in inference mode, which autograd refuses.
                put_back_random_state()
                return attempt(_LateGraph() if late else saved_tensors, normal_tensors=True)
            if captured.starts and "leaf Variable" in str(error):
                raise captured.change_in_place() from error
            raise
        if captured.was_changed_in_place():
            put_back_random_state()
            with torch.no_grad(), preserve_model_state(modules):
                without_capture = call(map(_copy, inputs))
            if not _are_close(output, without_capture):
                raise captured.change_in_place()
        tensors, notes = captured.results(forward_func, device_ids, tensor_index, run)
        return LayerRun(output, tensors, inputs, at_input, captured.autocasts_to_float16, notes)

    layer_run = None
    with recording(), preserve_random_state(inputs) as put_back_random_state, ExitStack() as stack:
        try:
            layer_run = attempt(None if create_graph else _LateGraph())
            result = explain(layer_run)
        except (DroppedTensorError, RuntimeError) as error:
            without_cudnn = _CUDNN_RNN in str(error)
            # Within torch.func PyTorch has no hooks for saved tensors, and says so.
            without_hooks = "saved tensor hooks" in str(error)
            if not (isinstance(error, DroppedTensorError) or without_cudnn or without_hooks):
                raise
            first_output = None if layer_run is None else map_tensors(Tensor.detach, layer_run.output)
            layer_run = None  # with its graph
            put_back_random_state()
            with recurrent_layers_without_cudnn() if without_cudnn else nullcontext():
                layer_run = attempt(None if without_hooks else _keep_copies())
                result = explain(layer_run)
            if first_output is not None and not _are_close(first_output, layer_run.output):
                layer_run.notes.append(
                    "`forward_func` returned other numbers when it ran a second time, as the map of this layer needs: "
                    "it keeps something from run to run, or draws random numbers that are not PyTorch's. The map and "
                    "the logits are those of the second run."
                )
    if warning := train_mode_warning(modules):
        layer_run.notes.append(warning)
    return layer_run, result


def graph_behind(points: Iterable[Tensor | GradientEdge]) -> set[Node]:
    """Return the operations from which tensors were made, as autograd recorded them, down to the leaves."""
    nodes = set[Node]()
    waiting: list[Node | None] = [point.grad_fn if isinstance(point, Tensor) else point.node for point in points]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in nodes:
            nodes.add(node)
            waiting += [earlier for earlier, _ in node.next_functions]
    return nodes


def call_by_position(forward_func: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Call a model, or raise a TypeError with the remedy if it does not take its inputs by position."""
    try:
        return forward_func(*args)
    except TypeError as error:
        try:
            parameters = signature(forward_func.forward if isinstance(forward_func, Module) else forward_func)
        except ValueError:  # a function that is not written in Python
            raise error from None
        try:
            parameters.bind(*args)
        except TypeError:
            raise TypeError(
                f"`forward_func` must take {len(args)} input(s) and further arguments by position, got one that takes "
                f"{parameters}. Pass a function of the inputs, such as lambda x: model(pixel_values=x)."
            ) from error
        raise


def _copy(value: Any) -> Any:
    """Return a copy of a tensor, so that the model may change it in place, and anything else as it is."""
    return value.clone() if isinstance(value, Tensor) else value


def _differentiable_copy(tensor: Tensor, create_graph: bool) -> Tensor:
    """Return a copy of an input that requires gradients, so that all that is made of it is recorded.

    With ``create_graph`` an input that requires gradients is passed on as it is, because the map may be differentiated
    with respect to it.
    """
    if create_graph and tensor.requires_grad:
        return tensor
    detached = tensor.detach()
    if detached.is_inference() or not (tensor.is_floating_point() or tensor.is_complex()):
        detached = detached.clone()
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return detached
    # A clone, because the model may change its input in place, which a leaf does not allow.
    return detached.requires_grad_().clone()


def _are_close(output: Any, other: Any) -> bool:
    """Return whether a model returned the same twice, up to rounding."""
    first, second = list[Tensor](), list[Tensor]()
    for tensors, value in ((first, output), (second, other)):
        map_tensors(lambda tensor, tensors=tensors: tensors.append(tensor) or tensor, value)  # type: ignore[misc]
    return all(
        a.shape == b.shape and torch.allclose(a, b, _rounding(a), _rounding(a) / 10, equal_nan=True)
        for a, b in zip(first, second, strict=False)
    )


def _rounding(tensor: Tensor) -> float:
    return max(1e-3, torch.finfo(tensor.dtype).eps ** 0.5) if tensor.is_floating_point() else 0.0


class DroppedTensorError(Exception):
    """The gradient at the layer needs a tensor that was dropped, or changed in place, since the run."""


class _LateGraph(saved_tensors_hooks):
    """Drop what operations save for the backward pass until :attr:`keeps` is set."""

    def __init__(self) -> None:
        self.keeps = False
        super().__init__(self._pack, self._unpack)

    def _pack(self, tensor: Tensor) -> Any:
        # Detached, because an output that is kept by its own operation would keep the whole graph alive. It shares the
        # version of the tensor, and autograd attaches it to the graph again.
        return (tensor.detach(), version_of(tensor)) if self.keeps else None

    def _unpack(self, kept: Any) -> Tensor:
        # Where there are hooks, autograd leaves the check of versions to them.
        if kept is None or version_of(kept[0]) != kept[1]:
            raise DroppedTensorError
        tensor: Tensor = kept[0]
        return tensor


def _keep_copies() -> saved_tensors_hooks:
    """Keep copies of what operations save, so that the model may change in place what has been saved."""
    return saved_tensors_hooks(
        lambda tensor: tensor if tensor.is_leaf else tensor.detach().clone(), lambda tensor: tensor
    )


@dataclass
class _StandIn:
    """A clone that the model goes on with, and the layer's own tensor, which the model may have stored."""

    clone: Tensor
    original: Tensor
    version: int
    at_input: bool


class _Capture:
    """Hooks on the layers for the time of one run, and the tensors that they have seen."""

    def __init__(
        self,
        layers: Sequence[Module],
        at_input: Sequence[bool],
        late: _LateGraph | None,
        create_graph: bool,
        tracker: AxisTracker | None,
    ) -> None:
        self.layers, self.at_input, self.late, self.create_graph = layers, at_input, late, create_graph
        self.tracker = tracker
        self.thread = threading.get_ident()
        self.runs: list[dict[torch.device, list[list[LayerTensor]]]] = [{} for _ in layers]
        """By layer and device, the layer's tensors in each of its runs."""
        self.stand_ins: list[_StandIn] = []
        self.starts: list[Tensor] = []
        """Tensors without a graph, at which one was made to start."""
        self.autocasts_to_float16 = False
        self.hooks = ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as hooks:
            for i, layer in enumerate(self.layers):
                try:
                    if self.at_input[i]:
                        handle = layer.register_forward_pre_hook(partial(self._on_input, i), with_kwargs=True)
                    else:
                        handle = layer.register_forward_hook(partial(self._on_output, i))
                except RuntimeError as error:  # a scripted module
                    raise TypeError(f"`layer` must be a module of the model before it was scripted: {error}") from error
                hooks.callback(handle.remove)
            self.hooks = hooks.pop_all()

    def __exit__(self, *error: object) -> None:
        self.hooks.close()

    def release(self) -> None:
        """Let the tensors at which a graph was made to start be as they were."""
        for tensor in self.starts:
            if tensor.is_leaf:
                tensor.requires_grad_(False)

    def _on_input(self, i: int, module: Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        if has_tensors(args) or not has_tensors(kwargs):
            return self._keep(i, module, args), kwargs
        return args, self._keep(i, module, kwargs)

    def _on_output(self, i: int, module: Module, args: Any, output: Any) -> Any:
        return self._keep(i, module, output)

    def _keep(self, i: int, module: Module, value: Any) -> Any:
        # Replicas of DataParallel are other modules; the layer itself in another thread is somebody else's run.
        is_the_layer = module is self.layers[i] and not torch.compiler.is_compiling()
        if is_the_layer and threading.get_ident() != self.thread:
            return value
        if is_within_torch_func():
            raise ValueError(
                f"`layer` must run outside of torch.func, but {type(module).__name__} runs within a transform such as "
                "vmap or grad. Choose a layer before or behind the transform, or call the model without it."
            )
        if self.late:
            self.late.keeps = True
        tensors: list[LayerTensor] = []
        cut: dict[int, tuple[LayerTensor, Tensor]] = {}

        def replace(tensor: Tensor) -> Tensor:
            if not tensor.is_floating_point():
                return tensor
            # Once for a tensor that is there twice, as the last of all levels, say: what follows reads either.
            if id(tensor) not in cut:
                axes = self.tracker.axes_of(tensor) if self.tracker else None
                layer_tensor, passed_on = self._cut(tensor, self.at_input[i])
                cut[id(tensor)] = replace_fields(layer_tensor, axes=axes), passed_on
            layer_tensor, passed_on = cut[id(tensor)]
            tensors.append(layer_tensor)
            return passed_on

        replaced = map_tensors(replace, value)
        if not tensors:
            raise _no_tensor(module, value, "input" if self.at_input[i] else "output")
        device = tensors[0].value.device
        self.autocasts_to_float16 |= (
            torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.float16
        )
        self.runs[i].setdefault(device, []).append(tensors)
        return replaced

    def _cut(self, tensor: Tensor, at_input: bool) -> tuple[LayerTensor, Tensor]:
        """Return the layer's tensor, and the one that the model goes on with, which it may change in place."""
        # Before such a change. It is one of the model's own tensor, because the model may have stored that.
        if tensor.requires_grad and torch.is_grad_enabled():
            value = tensor.clone() if self.create_graph else tensor.detach().clone()
            point = LayerTensor(value, get_gradient_edge(tensor))
            if not (tensor.is_leaf or is_view(tensor)):
                return point, tensor
            # If a view is changed in place, autograd takes it for another view of its changed base.
            return point, self._stand_in(tensor, at_input)
        if not torch.is_grad_enabled():
            # The model has switched recording off, and switches it on again where its block ends.
            torch.set_grad_enabled(True)
        with torch.inference_mode(False):
            start = without_inference(tensor).requires_grad_()
            self.starts.append(start)
            return LayerTensor(start.detach().clone(), start), self._stand_in(start, at_input)

    def _stand_in(self, tensor: Tensor, at_input: bool) -> Tensor:
        clone = tensor.clone()
        self.stand_ins.append(_StandIn(clone, tensor, version_of(tensor), at_input))
        return clone

    def was_changed_in_place(self) -> bool:
        """Return whether a stand-in, or the tensor that it stands for, was changed in place.

        Raises:
            ValueError: the model goes on with the tensor itself, a view of which nobody can tell the gradient.
        """
        originals = [s for s in self.stand_ins if version_of(s.original) != s.version]
        if any(stand_in.at_input for stand_in in originals):
            raise self.change_in_place()
        return bool(originals) or any(version_of(stand_in.clone) for stand_in in self.stand_ins)

    def change_in_place(self) -> ValueError:
        """Return the error for a tensor that cannot be followed, because it changes under two names."""
        return ValueError(
            "`layer` must have a tensor that the model reads under one name, but what follows changes it in place and "
            "reads it by another view, too. Choose another layer, such as the next one, or take inplace operations "
            "out of the model."
        )

    def results(
        self, forward_func: Callable[..., Any], device_ids: list[int] | None, tensor_index: int | None, run: int | None
    ) -> tuple[list[list[list[LayerTensor]]], list[str]]:
        """Return the layers' tensors by layer and device, and notes for the caller."""
        by_layer, notes = [], []
        for layer, by_device in zip(self.layers, self.runs, strict=True):
            name = type(layer).__name__
            if not by_device:
                raise ValueError(_why_layer_did_not_run(forward_func, layer))
            runs = max(map(len, by_device.values()))
            if runs > 1 and run is None:
                notes.append(
                    f"`layer` ({name}) runs more than once in one forward ({runs} times), and its last run is "
                    f"explained. Choose a run with `run=0` to `run={runs - 1}`."
                )
            if run is not None and not -runs <= run < runs:
                raise IndexError(f"`run` must be from {-runs} to {runs - 1} for {name}, got {run}.")
            devices = _in_order(list(by_device), forward_func, device_ids)
            by_layer.append([_choose(by_device[d][-1 if run is None else run], tensor_index, layer) for d in devices])
        return by_layer, notes


def _no_tensor(module: Module, value: Any, side: str) -> TypeError:
    name = type(module).__name__
    if has_tensors(value):
        return TypeError(f"`layer` must have a floating-point tensor at its {side}, but those of {name} are integers.")
    return TypeError(
        f"`layer` must have a floating-point tensor at its {side}, but {name} has {type(value).__name__}. Tensors are "
        "found in tuples, lists, dictionaries, mappings and dataclasses."
    )


def _why_layer_did_not_run(forward_func: Any, layer: Module) -> str:
    """Return the reason why the hooks of a layer did not fire, as far as it shows."""
    message = f"`layer` must run in forward_func, but {type(layer).__name__} did not."
    if isinstance(forward_func, Module) and all(module is not layer for module in forward_func.modules()):
        return (
            f"{message} It is not a module of forward_func: models that were copied, traced, scripted or exported have "
            "layers of their own. Pass the model and a layer of that model, as it was written."
        )
    return (
        f"{message} Hooks run where the model calls layer(...): not for layer.forward(...), not for layers of which "
        "only the weights are used (out_proj of nn.MultiheadAttention), and not in models that were traced, scripted "
        "or exported. Choose the module around it, or the model as it was written."
    )


def _choose(tensors: list[LayerTensor], tensor_index: int | None, layer: Module) -> list[LayerTensor]:
    if tensor_index is None:
        return tensors
    if not 0 <= tensor_index < len(tensors):
        shapes = ", ".join(str(tuple(tensor.value.shape)) for tensor in tensors)
        raise IndexError(
            f"`tensor_index` must be from 0 to {len(tensors) - 1}, got {tensor_index}: {type(layer).__name__} has "
            f"{len(tensors)} floating-point tensor(s), of shape {shapes}."
        )
    return [tensors[tensor_index]]


def _in_order(devices: list[torch.device], forward_func: Any, device_ids: list[int] | None) -> list[torch.device]:
    """Return the devices in the order in which DataParallel has split the batch."""
    if len(devices) == 1:
        return devices
    ids = getattr(forward_func, "device_ids", None) if device_ids is None else device_ids
    if ids is None:
        raise ValueError(f"`device_ids` must give the order of {devices}, on which the layer ran, got None.")
    return device_order(devices, ids)
