"""From one run of the model to maps of its layers, for any score: what the attribution classes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeVar, Union

import torch
from captum.attr import LayerAttribution
from captum.attr._utils.attribution import GradientAttribution
from torch import Tensor
from torch.nn import Module

from captum_diffcam._capture import LayerRun, recording, run_at_layers
from captum_diffcam._checks import as_index, as_inputs, warn_user
from captum_diffcam.layouts import Layout, convolutional, doubt_about_layout, find_layout, to_positions
from captum_diffcam.logits import (
    Target,
    as_logits,
    at_least_float32,
    doubt_about_classes,
    resolve_target,
    warn_of_probabilities,
)
from captum_diffcam.results import Maps

Inputs: TypeAlias = Union[Tensor, tuple[Tensor, ...]]

_Found = TypeVar("_Found")


class LayerMaps(LayerAttribution, GradientAttribution):
    """A Captum attribution whose maps are weighted sums of a layer's channels; a subclass says of which score."""

    channel_weights: Callable[[Tensor, Tensor], Tensor]

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Module | list[Module],
        device_ids: list[int] | None = None,
        *,
        layout: Layout | list[Layout | None] | None = None,
        tensor_index: int | None = None,
    ) -> None:
        if not callable(forward_func):
            raise TypeError(f"forward_func: got {type(forward_func).__name__}; allowed is a model or another callable")
        layers = layer if isinstance(layer, list) else [layer]
        for each in layers:
            if not isinstance(each, Module):
                raise TypeError(f"layer: got {type(each).__name__}; allowed is a torch.nn.Module or a list of them")
        if not layers:
            raise ValueError("layer: got an empty list; allowed is a torch.nn.Module or a list of them")
        layouts: list[Any] = [layout] * len(layers)
        if isinstance(layer, list) and isinstance(layout, list):
            layouts = layout
        if len(layouts) != len(layers):
            raise ValueError(
                f"layout: got {len(layouts)} for {len(layers)} layer(s); allowed is one for all or for each"
            )
        if tensor_index is not None:
            tensor_index = as_index("tensor_index", tensor_index, "None or an integer >= 0")
        LayerAttribution.__init__(self, forward_func, layer, device_ids)  # type: ignore[type-var]
        GradientAttribution.__init__(self, forward_func)
        self.layouts = [find_layout(each) for each in layouts]
        self.tensor_index = tensor_index

    def _run(
        self,
        inputs: Inputs,
        target: Target,
        additional_forward_args: object,
        at_input: bool,
        grad_kwargs: dict[str, Any],
        explain: Callable[[LayerRun, Tensor, Tensor], _Found],
    ) -> _Found:
        """One run of the model, explained: from the logits (N, C) at the target's position and the classes (N,)."""
        given = as_inputs(inputs)
        with recording():
            run = run_at_layers(
                self.forward_func,
                self._layers,
                given,
                additional_forward_args,
                at_input=at_input,
                tensor_index=self.tensor_index,
                device_ids=self.device_ids,
                create_graph=bool(grad_kwargs.get("create_graph")),
            )
            found = explain(run, *resolve_target(as_logits(run.output), target))
        warn_of_probabilities(run.output)
        for message in (*run.notes, *self._doubts(run, given[0])):
            warn_user(message)
        return found

    @property
    def _layers(self) -> list[Module]:
        return self.layer if isinstance(self.layer, list) else [self.layer]

    def _doubts(self, run: LayerRun, given: Tensor) -> Iterator[str]:
        """Why the maps may not be what they seem."""
        if doubt := doubt_about_classes(run.output, given):
            yield doubt
        for layer, layout, tensors in zip(self._layers, self.layouts, run.activations, strict=True):
            for tensor in tensors if layout is convolutional else ():
                if doubt := doubt_about_layout(layer, tensor, given):
                    yield doubt

    def _maps(
        self, run: LayerRun, score: Tensor, rectify: bool, sum_channels: bool, grad_kwargs: dict[str, Any]
    ) -> list[tuple[Tensor, ...]]:
        """By layer, the map of each of its tensors for one score (N,)."""
        by_layer = zip(self.layouts, run.activations, run.gradients(score, grad_kwargs), strict=True)
        maps = []
        with torch.set_grad_enabled(bool(grad_kwargs.get("create_graph"))):
            for layout, activations, gradients in by_layer:
                of_layer = []
                for activation, gradient in zip(activations, gradients, strict=True):
                    activation, gradient = to_positions(
                        layout, activation, gradient, examples=len(score), size=run.input_size
                    )
                    activation, gradient = at_least_float32(activation), at_least_float32(gradient)
                    attribution = self.channel_weights(activation, gradient) * activation
                    if sum_channels:
                        attribution = attribution.sum(dim=1, keepdim=True)
                    of_layer.append(attribution.relu() if rectify else attribution)
                maps.append(tuple(of_layer))
        return maps

    def _unpack(self, maps: list[tuple[Tensor, ...]]) -> Maps | list[Maps]:
        """A list where there is a list of layers, a tuple where a layer has several tensors."""
        unpacked = [of_layer if len(of_layer) > 1 else of_layer[0] for of_layer in maps]
        return unpacked if isinstance(self.layer, list) else unpacked[0]
