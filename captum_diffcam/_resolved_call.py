"""Call an attribution for changed copies of an input, with the target and contrast set of the unchanged one."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from captum.attr import LayerAttribution
from torch import Tensor

from captum_diffcam._checks import as_further_args
from captum_diffcam._internals import modules_of, preserve_model_state, preserve_random_state
from captum_diffcam.attribution import LayerDiffGradCam
from captum_diffcam.contrast import as_one_set, check_contrast_is_unambiguous, contrast_mask
from captum_diffcam.logits import Target, as_logits, at_least_float32, has_one_logit, resolve_target
from captum_diffcam.score import explained_score


class ResolvedCall:
    """The arguments of a wrapped attribution.

    A callable target or contrast is called once, with the logits of the unchanged inputs. Batches of changed inputs
    hold each example several times in place, and targets per example are repeated with them.
    """

    def __init__(
        self,
        attribution: LayerAttribution,
        inputs: tuple[Tensor, ...],
        as_tuple: bool,
        target: Target,
        additional: object,
        kwargs: dict[str, Any],
    ) -> None:
        self.attribution, self.as_tuple = attribution, as_tuple
        self.additional = as_further_args(additional)
        self.target, self.kwargs = target, dict(kwargs)
        self.keeps_graph = bool((kwargs.get("grad_kwargs") or {}).get("create_graph"))
        self.class_dim = getattr(attribution, "class_dim", None)
        contrast = kwargs.get("contrast")
        check_contrast_is_unambiguous(contrast, target)
        if contrast is not None:
            self.kwargs["contrast"] = as_one_set(contrast)
        self.is_one_logit = False
        if callable(target) or callable(contrast):
            output = self._output(inputs, self.additional)
            logits, classes = resolve_target(as_logits(output, self.class_dim), target, self.class_dim)
            self.is_one_logit = callable(target) and has_one_logit(output, self.class_dim)
            self.target = classes if callable(target) else target
            if callable(contrast):
                self.kwargs["contrast"] = contrast_mask(contrast, logits, classes)

    def maps(self, inputs: tuple[Tensor, ...], repeats: int) -> Tensor:
        """Return the maps (N * repeats, 1, *positions) of inputs that hold each example ``repeats`` times."""
        maps = self.maps_of_layers(inputs, repeats)
        if len(maps) > 1:
            raise ValueError(
                f"`attribution` must return one map of shape (N, 1, *positions), got {len(maps)} maps. Pass an "
                "attribution of one layer."
            )
        return maps[0]

    def maps_of_layers(self, inputs: tuple[Tensor, ...], repeats: int) -> list[Tensor]:
        """Return what :meth:`maps` does for each layer of an attribution."""
        target = self._repeated_target(repeats)
        sign = None
        if self.is_one_logit and not hasattr(self.attribution, "class_dim"):
            # Captum's classes take no callables. Their map of class 0 is the negative of the logit's.
            sign, target = 2 * self._repeat(self.target, repeats) - 1, None
        returned = self.attribution.attribute(
            inputs if self.as_tuple else inputs[0],
            target,
            additional_forward_args=self._repeated_additional(repeats) or None,
            **self.kwargs,
        )
        layers = []
        for maps in returned if isinstance(returned, list) else [returned]:
            if not isinstance(maps, Tensor) or maps.ndim < 3 or maps.shape[1] != 1:
                got = f"shape {tuple(maps.shape)}" if isinstance(maps, Tensor) else f"{len(maps)} maps"
                raise ValueError(f"`attribution` must return one map of shape (N, 1, *positions), got {got}.")
            layer = at_least_float32(maps if self.keeps_graph else maps.detach())
            layers.append(layer if sign is None else layer * sign.to(layer).reshape(-1, *[1] * (layer.ndim - 1)))
        return layers

    def scores(self, inputs: tuple[Tensor, ...], repeats: int) -> Tensor:
        """Return the score that the attribution explains, (N * repeats,), in float32 or better.

        That is the contrast score of this library's attributions, and the target's logit for those of Captum.
        """
        inner = self.attribution
        while isinstance(wrapped := getattr(inner, "attribution", None), LayerAttribution):
            inner = wrapped
        contrast = self.kwargs.get("contrast") if isinstance(inner, LayerDiffGradCam) else []
        output = self._output(inputs, self._repeated_additional(repeats))
        logits, classes = resolve_target(
            at_least_float32(as_logits(output, self.class_dim)), self._repeated_target(repeats), self.class_dim
        )
        mask = contrast_mask(contrast, logits, classes)
        return explained_score(logits, classes, mask, self.kwargs.get("reduction", "logsumexp"))

    def _output(self, inputs: tuple[Tensor, ...], additional: tuple[object, ...]) -> Any:
        modules = modules_of(self.attribution.forward_func)
        # With create_graph, the gradient of what is made from scores leads through the model.
        with torch.set_grad_enabled(self.keeps_graph), preserve_random_state(inputs), preserve_model_state(modules):
            return self.attribution.forward_func(*inputs, *additional)

    def _repeated_target(self, repeats: int) -> Any:
        target = self._repeat(self.target, repeats)
        # Of a single logit, only a callable can name class 0.
        return partial(_constant, target) if self.is_one_logit else target

    def _repeated_additional(self, repeats: int) -> tuple[object, ...]:
        return tuple(
            value.repeat_interleave(repeats, dim=0) if isinstance(value, Tensor) and value.ndim else value
            for value in self.additional
        )

    def _repeat(self, target: Any, repeats: int) -> Any:
        """Return a target per example for inputs that hold each example ``repeats`` times in place."""
        if isinstance(target, (Tensor, np.ndarray)) and target.ndim and len(target) > 1:
            return target.repeat_interleave(repeats) if isinstance(target, Tensor) else target.repeat(repeats)
        return [label for label in target for _ in range(repeats)] if isinstance(target, list) else target


def _constant(classes: Tensor, logits: Tensor) -> Tensor:
    """Return classes that do not depend on the logits, as a target that is called with logits."""
    return classes
