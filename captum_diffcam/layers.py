"""The layers of a model that have positions, found by one run; and the last of them, which is the one to explain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.jit import ScriptModule
from torch.nn import Linear, Module
from torch.utils.hooks import RemovableHandle

from captum_diffcam._checks import as_inputs
from captum_diffcam._internals import differentiable_operations, modules_of, preserve_model_state, without_inference
from captum_diffcam.forward import recording
from captum_diffcam.layouts import VitLayout, find_layout, likely_layout
from captum_diffcam.logits import as_logits

_SHOWN = 12
"""So many layers are named in an error."""


class SpatialLayer(NamedTuple):
    """A layer with positions, ready for :class:`~captum_diffcam.LayerDiffGradCam`.

    The fields are named as the arguments that they are for.
    """

    layer: Module
    """The module."""

    attribute_to_layer_input: bool
    """Whether what goes into the module is meant, for ``attribute``; else what it puts out."""

    layout: Literal["vit", "swin"] | None
    """Where it keeps channels and positions, for the constructor."""

    name: str
    """The module's name as in ``model.named_modules()``, with ``:input`` behind it where its input is meant."""


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


class _Seen(NamedTuple):
    """A tensor of a run, and where it was seen."""

    name: str
    module: Module
    at_input: bool
    layout: str | None
    tensor: Tensor

    def place(self) -> SpatialLayer:
        return SpatialLayer(self.module, self.at_input, self.layout, self.name)  # type: ignore[arg-type]


def last_spatial_layer(
    forward_func: Callable[..., Any], inputs: Any, additional_forward_args: object = None
) -> SpatialLayer:
    """The last layer with positions: the one to explain where nobody knows better.

    By one run of the model: the last tensor with more than one position that a module puts out, or else takes in, and
    on whose positions the logits depend. For convolutional models it is what goes into the pooling. For a ViT that
    classifies by its class token it is the normalisation before the last attention, because nothing behind that
    depends on the patches; for one that pools its patches, and for Swin, the last normalisation.

    Modules that run more than once in a forward do not count, because only their last run would be explained. What
    goes *into* a module counts where no other module puts it out: a model whose one ReLU serves many layers has its
    rectified last map only as the input of the pooling. Of tokens, linear projections do not count: each carries only a
    part of what the tokens say.

    The model is left as it is, its mode, running statistics, hooks and gradients, and so are PyTorch's random numbers.

    Args:
        forward_func: a classifier, or a function around one that returns its logits.
        inputs: what to run it on, one example or more, or a tuple of inputs. The layout is found from its shape.
        additional_forward_args: further arguments of ``forward_func``, one or a tuple.

    Returns:
        SpatialLayer: ``layer``, ``attribute_to_layer_input`` and ``layout``, for the arguments of that name, and
        ``name``.

    Raises:
        TypeError: there is no model in ``forward_func``, or it returns no tensor.
        ValueError: it returns no logits (N, C), or has no such layer; those that it has are named.

    Example:
        >>> import torch
        >>> from captum_diffcam import LayerDiffGradCam, last_spatial_layer
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> images = torch.rand(2, 3, 32, 32)
        >>> found = last_spatial_layer(model, images)
        >>> found.name, found.layout
        ('1', None)
        >>> cam = LayerDiffGradCam(model, found.layer, layout=found.layout)
        >>> maps = cam.attribute(images, 3, attribute_to_layer_input=found.attribute_to_layer_input)
    """
    seen, output = _run(forward_func, inputs, additional_forward_args)
    given = as_inputs(inputs)[0]
    # Without memory there are no values to check, nor to look at below.
    logits = output if isinstance(output, Tensor) and output.is_meta else as_logits(output)
    if logits.shape[2:].numel() > 1:
        raise ValueError(
            f"forward_func: returned shape {tuple(logits.shape)}; allowed are classifiers, with logits (N, C)"
        )
    # What is computed of the input alone, without weights, has no graph.
    candidates = [each for each in _candidates(seen, given) if each.tensor.requires_grad]
    # All of one kind: behind the last tokens come no convolutions, and maps of attention only look like theirs.
    candidates = [each for each in candidates if each.layout == candidates[-1].layout]
    if candidates and logits.requires_grad:
        found = _last_that_matters(candidates, logits, given)
        if found is not None:
            return found.place()
    raise ValueError(
        "forward_func: the logits depend on the positions of no layer that runs once and keeps them as convolutions, "
        f"ViT or Swin do; layers with more than two dimensions: {_listed(seen) or 'none'}"
    )


def _last_that_matters(candidates: Sequence[_Seen], logits: Tensor, given: Tensor) -> _Seen | None:
    """The last of them on whose positions the logits depend."""
    # Some sum in which no class has the weight of another. Untrained heads are often zeros, which no finite gradient
    # passes; of an infinite one they make nan, where it passes at all. A blank image may stop both, and where there is
    # no memory there are no values: then what has a gradient at all will do.
    weights = torch.arange(1, logits.numel() + 1, device=logits.device, dtype=logits.dtype).cos().view_as(logits)
    for scale in (None,) if logits.is_meta else (1.0, torch.inf, None):
        gradients = torch.autograd.grad(
            logits,
            [each.tensor for each in candidates],
            weights * (scale or 1.0),
            retain_graph=True,
            allow_unused=True,
        )
        for each, gradient in zip(reversed(candidates), reversed(gradients), strict=True):
            placed = None if gradient is None else _placed(each, gradient, given)
            if placed is not None and (scale is None or placed.any()):
                return each
    return None


def spatial_layers(
    forward_func: Callable[..., Any], inputs: Any, additional_forward_args: object = None
) -> list[SpatialLayer]:
    """All layers with positions, in the order of a forward; among them that of :func:`last_spatial_layer`.

    Args:
        forward_func: a model, or a function around one.
        inputs: what to run it on.
        additional_forward_args: further arguments of ``forward_func``.

    Returns:
        list[SpatialLayer]: modules that run once by what they put out, or by what they take in where no module puts it
        out.

    Raises:
        TypeError: there is no model in ``forward_func``.

    Example:
        >>> import torch
        >>> from captum_diffcam import spatial_layers
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> [found.name for found in spatial_layers(model, torch.rand(2, 3, 32, 32))]
        ['0', '1']
    """
    seen, _ = _run(forward_func, inputs, additional_forward_args)
    return [each.place() for each in _candidates(seen, as_inputs(inputs)[0])]


def _run(forward_func: Callable[..., Any], inputs: Any, additional_forward_args: object) -> tuple[list[_Seen], Any]:
    """What modules that run once put out or take in, in the order of execution, and what the model returns."""
    modules = modules_of(forward_func, [])
    if not modules:
        raise TypeError(f"forward_func: got {type(forward_func).__name__}; allowed is a model or a function around one")
    given = tuple(without_inference(single).detach() for single in as_inputs(inputs))
    more = additional_forward_args if isinstance(additional_forward_args, tuple) else (additional_forward_args,)
    runs, seen = Counter[int](), list[_Seen]()

    def note(name: str, module: Module, value: Any, at_input: bool) -> None:
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 2 and len(value) == len(given[0]):
            # Kept alive, so that no two of them share an id.
            layout = likely_layout(module, value, given[0])
            seen.append(_Seen(name + ":input" * at_input, module, at_input, layout, value))

    def hooks(name: str, module: Module) -> Iterator[RemovableHandle]:
        def before(module: Module, args: tuple[Any, ...]) -> None:
            runs[id(module)] += 1
            # The model's own input is no layer.
            if args and all(args[0] is not single for single in given):
                note(name, module, args[0], at_input=True)

        def after(module: Module, args: tuple[Any, ...], output: Any) -> Any:
            if isinstance(output, Tensor) and output.is_floating_point() and not _has_graph(output):
                # Frozen weights, or a model that switches the recording off.
                output = _start_of_graph(output)
                torch.set_grad_enabled(True)
            note(name, module, output, at_input=False)
            return output

        yield module.register_forward_pre_hook(before)
        yield module.register_forward_hook(after)

    with (
        torch.random.fork_rng(sorted({single.get_device() for single in given if single.is_cuda})),
        recording(),
        differentiable_operations(),
        preserve_model_state(modules),
        ExitStack() as stack,
    ):
        for name, module in modules[0].named_modules():
            # TorchScript runs no hooks.
            if name and not isinstance(module, ScriptModule):
                for handle in hooks(name, module):
                    stack.callback(handle.remove)
        output = forward_func(*given, *more) if additional_forward_args is not None else forward_func(*given)
    return [each for each in seen if runs[id(each.module)] == 1], output


def _start_of_graph(tensor: Tensor) -> Tensor:
    """Return a clone that depends on the tensor, which then requires gradients."""
    with torch.inference_mode(False), torch.enable_grad():
        start: Tensor = without_inference(tensor)
        return start.requires_grad_().clone()


def _has_graph(tensor: Tensor) -> bool:
    return tensor.requires_grad and torch.is_grad_enabled()


def _candidates(seen: Sequence[_Seen], given: Tensor) -> list[_Seen]:
    """Those whose layout is known, with more than one position."""
    put_out = {id(each.tensor) for each in seen if not each.at_input}
    found = []
    for each in seen:
        if each.at_input and id(each.tensor) in put_out:
            continue
        if each.layout is not None and isinstance(each.module, Linear):
            continue
        placed = _placed(each, each.tensor, given)
        if placed is not None and placed.shape[2:].numel() > 1:
            found.append(each)
    return found


def _placed(seen: _Seen, tensor: Tensor, given: Tensor) -> Tensor | None:
    """``(N, channels, *positions)``, or None where the layout is unknown."""
    if seen.layout not in (None, "vit", "swin"):
        return None
    layout = find_layout(seen.layout)  # type: ignore[arg-type]
    try:
        return layout(tensor, given.shape[2:]) if isinstance(layout, VitLayout) else layout(tensor)
    except ValueError:  # no grid of patches
        return None


def _listed(seen: Sequence[_Seen]) -> str:
    shown = [f"{each.name} {tuple(each.tensor.shape)}" for each in seen if not each.at_input]
    return ", ".join(["..."] * (len(shown) > _SHOWN) + shown[-_SHOWN:])
