"""Find the layers of a model that have positions, and the last of them, which is usually the one to explain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import Linear, Module
from torch.nn.parameter import is_lazy

from captum_diffcam._checks import as_further_args, as_inputs
from captum_diffcam._internals import (
    NormalTensors,
    differentiable_operations,
    modules_of,
    preserve_model_state,
    preserve_random_state,
    without_inference,
)
from captum_diffcam.axis_tracker import Axes, Axis, AxisTracker
from captum_diffcam.forward import call_by_position, explain_run, graph_behind, recording
from captum_diffcam.layouts import (
    Placement,
    apply_layout,
    convolutional,
    find_layout,
    find_placement,
    have_same_aspect,
    reaches_positions,
)
from captum_diffcam.logits import as_logits

_MOST_LISTED = 12
"""The number of layers that an error lists."""

_CHANNELS_FIRST = tuple(
    getattr(nn, f"{kind}{dims}d")
    for kind in ("Conv", "ConvTranspose", "BatchNorm", "InstanceNorm", "MaxPool", "AvgPool", "AdaptiveAvgPool")
    for dims in (1, 2, 3)
)


class SpatialLayer(NamedTuple):
    """A layer with positions, as :class:`~captum_diffcam.LayerDiffGradCam` takes it for its argument ``layer``."""

    layer: Module
    """The module."""

    attribute_to_layer_input: bool
    """Whether the input of the module is meant instead of its output."""

    layout: Literal["vit", "swin"] | None
    """Where the layer keeps channels and positions, as the argument ``layout`` takes it."""

    name: str
    """The module's name as in ``model.named_modules()``, followed by ``:input`` if its input is meant."""

    def __repr__(self) -> str:
        layout = f", layout={self.layout!r}" if self.layout else ""
        return f"SpatialLayer({self.name!r}: {type(self.layer).__name__}{layout})"


def resolve_layer(forward_func: Callable[..., Any], layer: Module | Tensor | str | SpatialLayer) -> SpatialLayer:
    """Return a module, a module's name or a :class:`SpatialLayer` as a :class:`SpatialLayer`.

    Raises:
        TypeError: ``layer`` is none of the three.
        ValueError: the model has no module of that name.
    """
    if isinstance(layer, SpatialLayer):
        return layer
    if isinstance(layer, Module):
        return SpatialLayer(layer, False, None, "")
    if not isinstance(layer, str):
        raise TypeError(
            f"`layer` must be a torch.nn.Module, the name of one or a SpatialLayer, got {type(layer).__name__}."
        )
    modules = {name: module for root in modules_of(forward_func, [])[:1] for name, module in root.named_modules()}
    if layer not in modules or not layer:
        near = get_close_matches(layer, modules, n=3, cutoff=0.3)
        hint = f" The nearest names are {', '.join(map(repr, near))}." if near else ""
        raise ValueError(f"`layer` must be the name of a module of the model, got {layer!r}.{hint}")
    return SpatialLayer(modules[layer], False, None, layer)


class _LayerTensor(NamedTuple):
    """A tensor of a run, the module at which it was seen, and what its axes stand for."""

    name: str
    module: Module
    at_input: bool
    tensor: Tensor
    axes: Axes

    @property
    def placement(self) -> Placement | None:
        return find_placement(self.axes)

    @property
    def outer_names(self) -> set[str]:
        """The names of the modules around its own."""
        parts = self.name.removesuffix(":input").split(".")
        return {".".join(parts[:i]) for i in range(1, len(parts))}

    @property
    def is_flattened(self) -> bool:
        """Whether it is a grid with channels first whose positions are one axis, as poolings of tokens take it in."""
        return not self.axes[1].has_positions and any(len(axis.parts) > 1 for axis in self.axes[2:])

    @property
    def is_attention(self) -> bool:
        """Whether it is of a kind that attention makes inside: positions in order, but by heads or in pairs."""
        known = all(axis.grid is not None for axis in self.axes[1:] if axis.has_positions)
        heads_apart = any(part.source == "channels" for part in self.axes[0].parts)
        return heads_apart or (known and len(self.axes) > 3 and self.axes[0].is_examples)

    def spatial_layer(self, placement: Placement) -> SpatialLayer:
        return SpatialLayer(self.module, self.at_input, placement.layout, self.name)

    def is_reached(self, gradient: Tensor) -> bool:
        """Return whether the gradient is not zero at more than a few positions."""
        if placement := self.placement:
            return reaches_positions(apply_layout(find_layout(placement.layout), gradient, self.axes))
        # Of axes whose order is unknown, each by itself.
        return all(
            reaches_positions(gradient.movedim(i, -1).flatten(1, -2))
            for i, axis in enumerate(self.axes)
            if axis.has_positions
        )


class _ModelRun:
    """One run of a model with everything recorded, and the axes of its tensors followed."""

    output: Any
    """What the model returned."""
    tensors: list[_LayerTensor]
    """Tensors with positions that modules put out or take in, in the order of execution. Modules run once."""
    placed_modules: set[str]
    """The names of modules of whose output the layout is known."""
    attention: set[str]
    """The names of modules that are attention, by the names of their classes."""
    repeated: list[str]
    """The names of modules that ran more than once."""
    shapes: list[str]
    """What modules put out, for errors."""

    def __init__(self, forward_func: Callable[..., Any], inputs: Any, additional_forward_args: object) -> None:
        modules = modules_of(forward_func)
        if not modules:
            raise TypeError(
                f"`forward_func` must be a model or a function around one, got {type(forward_func).__name__}. A "
                "function must refer to its model by name."
            )
        self._inputs = tuple(without_inference(tensor).detach() for tensor in as_inputs(inputs))
        self._tracker = AxisTracker()
        self._runs = Counter[str]()
        self._starts: set[Tensor] = set()
        """Outputs without a graph, at which one was made to start."""
        self._shapes: list[tuple[str, str]] = []
        self.tensors, self.placed_modules = [], set()
        names = {module: name for name, module in modules[0].named_modules() if name}
        with ExitStack() as stack:
            stack.enter_context(preserve_random_state(self._inputs))
            stack.enter_context(recording())
            stack.enter_context(differentiable_operations())
            stack.enter_context(preserve_model_state(modules))
            for module, name in names.items():
                if not _is_scripted(module):  # TorchScript runs no hooks
                    stack.callback(module.register_forward_pre_hook(partial(self._on_input, name)).remove)
                    stack.callback(module.register_forward_hook(partial(self._on_output, name)).remove)
            weights = [part for module in modules for part in module.parameters(recurse=False) if not is_lazy(part)]
            if any(weight.is_inference() for weight in weights):
                stack.enter_context(NormalTensors())
            stack.enter_context(self._tracker)
            self._tracker.start(self._inputs)
            self.output = call_by_position(forward_func, (*self._inputs, *as_further_args(additional_forward_args)))
        self.repeated = [name for name, count in self._runs.items() if count > 1]
        self.shapes = [f"{name} {shape}" for name, shape in self._shapes if name not in self.repeated]
        self.attention = {name for module, name in names.items() if type(module).__name__.endswith("Attention")}
        self.placed_modules |= {seen.name for seen in self.tensors if seen.placement}
        once = [seen for seen in self.tensors if names[seen.module] not in self.repeated]
        # What a module takes in is known from the module that puts it out.
        put_out = {seen.tensor for seen in once if not seen.at_input}
        self.tensors = [seen for seen in once if not (seen.at_input and seen.tensor in put_out)]

    def _on_input(self, name: str, module: Module, args: tuple[Any, ...]) -> None:
        self._runs[name] += 1
        # The model's own input is no layer.
        if args and all(args[0] is not tensor for tensor in self._inputs):
            self._note(name, module, args[0], at_input=True)

    def _on_output(self, name: str, module: Module, args: tuple[Any, ...], output: Any) -> Any:
        axes_of = self._tracker.axes_of
        if isinstance(output, Tensor) and output.is_floating_point():
            first = args[0] if args and isinstance(args[0], Tensor) else None
            if first is not None and axes_of(first) and axes_of(output) is None and _is_made_of(output, first):
                self._tracker.start_unknown(output)  # by TorchScript, for instance
            # Frozen weights, or a model that switches the recording off. Before any weights there is the input itself,
            # and what does not depend on the inputs may be a weight.
            has_graph = output.requires_grad and torch.is_grad_enabled()
            has_weights = any(True for _ in module.parameters())
            if not has_graph and (has_weights or first in self._starts) and axes_of(output):
                output = _start_of_graph(output)
                torch.set_grad_enabled(True)
                self._starts.add(output)
        self._note(name, module, output, at_input=False)
        return output

    def _note(self, name: str, module: Module, value: Any, at_input: bool) -> None:
        if isinstance(value, (tuple, list)) and value and isinstance(value[0], Tensor):
            # No layer that a map can be made of by itself, but it shows what its inside belongs to.
            axes = self._tracker.axes_of(value[0])
            self.placed_modules |= {name} if axes and find_placement(axes) else set()
            return
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim < 3:
            return
        if not at_input:
            self._shapes.append((name, str(tuple(value.shape))))
        axes = self._tracker.axes_of(value)
        if axes and any(part.source == "unknown" for axis in axes for part in axis.parts):
            if len(value) == len(self._inputs[0]):
                axes = (Axis(), *axes[1:])
            if sum(size > 1 for size in value.shape[1:]) < 2:
                return  # channels without positions, or the other way round
        if axes and any(axis.has_positions for axis in axes):
            self.tensors.append(_LayerTensor(name + ":input" * at_input, module, at_input, value, axes))

    def placed(self) -> list[tuple[_LayerTensor, Placement]]:
        """Return the tensors whose layout is known, but for projections of tokens and flattened grids at an input."""
        return [
            (seen, placement)
            for seen in self.tensors
            if (placement := seen.placement)
            and not (placement.layout is not None and isinstance(seen.module, Linear))
            and not (seen.at_input and seen.is_flattened)
        ]


def last_spatial_layer(
    forward_func: Callable[..., Any], inputs: Any, additional_forward_args: object = None
) -> SpatialLayer:
    """Return the last layer with positions, which is the one to explain if nothing else is known of the model.

    The model runs once. Every reshape, transposition and concatenation is followed from the inputs and the convolutions
    on, so that it is known which axis of a layer's tensor has the positions, and on which grid. The layer is the last
    tensor with more than one position that a module puts out, or else takes in, if the logits depend on more than a few
    of its positions. For convolutional models this is the input of the pooling. For a ViT that classifies by its class
    token, for BERT and GPT-2 it is the normalization before the last attention, because behind it the logits depend on
    one token only. For Swin, and for a ViT that pools its patches, it is the last normalization.

    - If there are several inputs, layers with positions of the first one are preferred. Layers that do not depend on
      the inputs, such as the text tower of CLIP for fixed prompts, are left out.
    - Modules that run more than once in a forward are left out. ``LayerDiffGradCam(..., run=0)`` explains them.
    - The *input* of a module is named if no other module puts it out. A model whose one ReLU serves many layers has its
      rectified last map only as the input of the pooling.
    - Linear projections of tokens are left out: each carries only a part of what the tokens say.

    The model is left as it is: its mode, buffers, stored tensors, hooks and gradients, and PyTorch's random numbers.

    Args:
        forward_func: a classifier, or a function around one that returns its logits.
        inputs: what to run it on, one example or more, or a tuple of inputs.
        additional_forward_args: further arguments of ``forward_func``, one or a tuple.

    Returns:
        SpatialLayer: what :class:`~captum_diffcam.LayerDiffGradCam` takes as its ``layer``.

    Raises:
        TypeError: there is no model in ``forward_func``, or it returns no tensor.
        ValueError: it returns no logits (N, C), it has no such layer, or the grid of the last layer is not known. The
            error names the layer and the remedy. An earlier layer is never taken instead.

    Example:
        >>> import torch
        >>> from captum_diffcam import LayerDiffGradCam, last_spatial_layer
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> images = torch.rand(2, 3, 32, 32)
        >>> layer = last_spatial_layer(model, images)
        >>> layer
        SpatialLayer('1': ReLU)
        >>> maps = LayerDiffGradCam(model, layer).attribute(images, 3)
    """
    run = _ModelRun(forward_func, inputs, additional_forward_args)
    # Without memory there are no values to check.
    logits = run.output if isinstance(run.output, Tensor) and run.output.is_meta else as_logits(run.output)
    if logits.shape[2:].numel() > 1:
        raise ValueError(
            f"`forward_func` must be a classifier with logits (N, C), got an output of shape {tuple(logits.shape)}. "
            "Pass a function that returns the logits of one position or query."
        )
    candidates = [seen for seen in _candidates(run) if seen.tensor.requires_grad]
    if candidates and logits.requires_grad and (layer := _last_reached(candidates, logits)):
        return layer
    again = f" Layers that run more than once: {_listed(run.repeated)}; choose one, and its run with `run=0`."
    raise ValueError(
        "`forward_func` must have a layer that runs once in a forward, and on more than a few of whose positions the "
        f"logits depend. Layers with more than two dimensions: {_listed(run.shapes) or 'none'}."
        f"{again * bool(run.repeated)}"
    )


def _candidates(run: _ModelRun) -> list[_LayerTensor]:
    """Return the tensors that may be explained, and those of which the run does not show how."""
    placed = {seen.name for seen, _ in run.placed()}
    candidates = []
    for seen in run.tensors:
        if seen.placement is None:
            # The inside of a module, such as attention, is not asked for if it is known what the module puts out.
            known = seen.outer_names & run.placed_modules
            if seen.is_attention or known or isinstance(seen.module, Linear):
                continue
        elif seen.name not in placed:
            continue
        candidates.append(seen)
    # Inside attention are queries, keys and values, each only a part of what the tokens say.
    return [seen for seen in candidates if not seen.outer_names & run.attention] or candidates


def _last_reached(candidates: Sequence[_LayerTensor], logits: Tensor) -> SpatialLayer | None:
    """Return the last layer on whose positions the logits depend, those of the first input before others."""
    # Some sum in which no class has the weight of another. Untrained heads are often zeros, which no finite gradient
    # passes; an infinite one becomes nan wherever it passes at all. A blank image may stop both, and without memory
    # there are no values: then a tensor counts if it has a gradient at all.
    weights = torch.arange(1, logits.numel() + 1, device=logits.device, dtype=logits.dtype).cos().view_as(logits)
    for scale in (None,) if logits.is_meta else (1.0, torch.inf, None):
        gradients = torch.autograd.grad(
            logits,
            [seen.tensor for seen in candidates],
            weights * (scale or 1.0),
            retain_graph=True,
            allow_unused=True,
        )
        of_other_inputs = None
        for seen, gradient in zip(reversed(candidates), reversed(gradients), strict=True):
            if gradient is None or not (scale is None or seen.is_reached(gradient)):
                continue
            placement = seen.placement
            if placement is None:
                raise _unknown_grid(seen, len(logits))
            if 0 in placement.inputs:
                return seen.spatial_layer(placement)
            of_other_inputs = of_other_inputs or seen.spatial_layer(placement)
        if of_other_inputs or any(gradient is not None and (gradient != 0).any() for gradient in gradients):
            return of_other_inputs
    return None


def _unknown_grid(seen: _LayerTensor, examples: int) -> ValueError:
    shape = tuple(seen.tensor.shape)
    side = "the input" if seen.at_input else "the output"
    name = seen.name.removesuffix(":input")
    if seen.tensor.ndim == 3 and len(seen.tensor) == examples and seen.axes[0].is_examples:
        remedy = f"Pass {name!r} as `layer` with layout=vit_layout(grid=...), if its tokens are a grid of patches"
    else:
        remedy = (
            f"Pass {name!r} as `layer`, and unless it keeps its channels first, as `layout` a callable that returns "
            "(N, channels, *positions)"
        )
    return ValueError(
        f"`forward_func` must show where the positions of its last layer are, but of {side} of {name!r}, of shape "
        f"{shape}, the run does not show it. {remedy}. Or choose an earlier layer: spatial_layers lists them."
    )


def spatial_layers(
    forward_func: Callable[..., Any], inputs: Any, additional_forward_args: object = None
) -> list[SpatialLayer]:
    """Return all layers with positions, in the order of a forward, that of :func:`last_spatial_layer` among them.

    Args:
        forward_func: a model, or a function around one.
        inputs: what to run it on.
        additional_forward_args: further arguments of ``forward_func``.

    Returns:
        list[SpatialLayer]: modules that run once, by their output, or by their input if no module puts it out.

    Raises:
        TypeError: there is no model in ``forward_func``.

    Example:
        >>> import torch
        >>> from captum_diffcam import spatial_layers
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> [layer.name for layer in spatial_layers(model, torch.rand(2, 3, 32, 32))]
        ['0', '1']
    """
    run = _ModelRun(forward_func, inputs, additional_forward_args)
    return [seen.spatial_layer(placement) for seen, placement in run.placed()]


def _is_scripted(module: Module) -> bool:
    # PyTorch is going to drop TorchScript.
    return isinstance(module, getattr(getattr(torch, "jit", None), "ScriptModule", ()))


def _start_of_graph(tensor: Tensor) -> Tensor:
    """Return a clone that depends on the tensor, which then requires gradients."""
    with torch.inference_mode(False), torch.enable_grad():
        start: Tensor = without_inference(tensor)
        return start.requires_grad_().clone()


def _is_made_of(tensor: Tensor, earlier: Tensor) -> bool:
    """Return whether autograd has recorded that a tensor was made of another one."""
    return earlier.grad_fn is not None and earlier.grad_fn in graph_behind([tensor])


def layer_warning(
    forward_func: Callable[..., Any],
    inputs: tuple[Tensor, ...],
    additional_forward_args: object,
    layer: Module,
    at_input: bool,
    layout: Callable[..., Tensor],
    tensor: Tensor,
) -> str | None:
    """Return a warning if a layer has no positions, or keeps its channels elsewhere than ``layout=None`` takes them.

    The model runs again, and its axes are followed, only if the shape of the layer's tensor leaves that open.
    """
    name = type(layer).__name__
    if layout is not convolutional or (isinstance(layer, _CHANNELS_FIRST) and tensor[:1, :1].numel() != 1):
        return None
    if tensor[:1, :1].numel() == 1:
        try:
            better = last_spatial_layer(forward_func, inputs, additional_forward_args)
        except (TypeError, ValueError):
            return None
        return (
            f"`layer` ({name}) has one position, so its map is one value for each example. Choose a layer with "
            f"positions, such as {better.name!r}, which last_spatial_layer finds."
        )
    if _keeps_channels_first(layer):
        return None
    if tensor.ndim == inputs[0].ndim >= 4 and have_same_aspect(tensor.shape[2:], inputs[0].shape[2:]):
        return None
    run, _ = explain_run(
        forward_func,
        [layer],
        inputs,
        additional_forward_args,
        lambda run: None,
        at_input=[at_input],
        follow_axes=True,
    )
    axes = run.axes[0][0]
    if axes is None or not any(axis.has_positions for axis in axes[1:]):
        return None
    placement = find_placement(axes)
    if placement is not None and placement.layout is None:
        return None
    remedy = (
        f"Pass layout={placement.layout!r}."
        if placement
        else "Pass layout=vit_layout(grid=...) if it has tokens (N, T, D), or as `layout` a callable that returns "
        "(N, channels, *positions)."
    )
    return (
        f"`layer` ({name}) has a tensor of shape {tuple(tensor.shape)} that does not keep its channels first. {remedy}"
    )


def _keeps_channels_first(layer: Module) -> bool:
    """Return whether a module has its channels first by definition, or is a sequence of such and of activations."""
    if isinstance(layer, nn.Sequential):
        return any(map(_keeps_channels_first, layer)) and all(
            _keeps_channels_first(child)
            or type(child).__module__ in ("torch.nn.modules.activation", "torch.nn.modules.dropout")
            for child in layer
        )
    return isinstance(layer, _CHANNELS_FIRST)


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(["..."] * (len(texts) > _MOST_LISTED) + list(texts[-_MOST_LISTED:]))
