"""A class activation map method apart from any model: what is attacked, audited and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from captum.attr import LayerAttribution
from torch import Tensor
from torch.nn import Module

from captum_diffcam.attribution import LayerDiffGradCam
from captum_diffcam.contrast import as_one_set
from captum_diffcam.logits import at_least_float32

_ASKED = {"contrast": None, "reduction": "logsumexp"}
"""In which methods of one class may differ and still share a forward pass, as it is where it is not said."""
_WAYS = ("attribute", "explain", "_explain_each")
"""Whoever goes another way to a map is asked by itself."""


class CamMethod:
    """An attribution class with the arguments of its ``attribute``, to be applied to one model after another.

    Args:
        attribution: a class such as :class:`captum.attr.LayerGradCam` or :class:`~captum_diffcam.LayerDiffGradCam`, or
            another callable ``(model, layer) -> LayerAttribution``; ``functools.partial`` sets a layout.
        **keywords: arguments of ``attribute`` besides inputs and target, such as ``contrast`` and ``reduction``.

    Example:
        >>> from captum_diffcam import LayerDiffGradCam, top_rivals
        >>> from captum_diffcam import CamMethod
        >>> CamMethod(LayerDiffGradCam, reduction="max")
        LayerDiffGradCam(reduction='max')
    """

    def __init__(self, attribution: Callable[[Module, Module], LayerAttribution], **keywords: Any) -> None:
        if not callable(attribution):
            raise TypeError(f"attribution: got {type(attribution).__name__}; allowed is a class or another callable")
        self.attribution = attribution
        self.keywords = keywords

    def maps(
        self, model: Module, layer: Module, images: Tensor, target: Tensor, *, create_graph: bool = False
    ) -> Tensor:
        """Signed maps of a model. Shapes: images (N, ...), target (N,) -> ``(N, *positions)``.

        With ``create_graph=True`` they are differentiable down to the model's parameters.
        """
        options: dict[str, Any] = {"grad_kwargs": {"create_graph": True}} if create_graph else {}
        # A flat contrast is one set for every batch, also for a batch of as many images as it has classes.
        keywords = {key: as_one_set(value) if key == "contrast" else value for key, value in self.keywords.items()}
        maps = self.attribution(model, layer).attribute(images, target, **keywords, **options)
        return self._signed(maps, create_graph)

    def shares_forward_with(self, other: CamMethod) -> bool:
        """Whether the two are the same but for what they ask of the logits."""
        return False  # a forward pass for each method
        (made, given), (its_made, its_given) = self._besides_what_is_asked(), other._besides_what_is_asked()
        return (
            made is its_made
            and all(getattr(made, name, None) is getattr(LayerDiffGradCam, name) for name in _WAYS)
            and given.keys() == its_given.keys()
            and all(its_given[name] is value for name, value in given.items())
        )

    def _besides_what_is_asked(self) -> tuple[Any, dict[object, Any]]:
        """The class or function that makes the attribution, and whatever else it and the attribution are given."""
        made: Any = self.attribution
        given: dict[object, Any] = {name: value for name, value in self.keywords.items() if name not in _ASKED}
        if isinstance(made, partial):
            given |= {("made with", name): value for name, value in [*enumerate(made.args), *made.keywords.items()]}
            made = made.func
        return made, given

    def _signed(self, maps: object, with_graph: bool) -> Tensor:
        if not isinstance(maps, Tensor) or maps.ndim < 3 or maps.shape[1] != 1:
            got = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise ValueError(f"layer: {self} gave {got}; allowed is a layer with one map (N, 1, *positions)")
        # Captum's maps come in the model's precision, and with their graph.
        return at_least_float32(maps if with_graph else maps.detach())[:, 0]

    def __repr__(self) -> str:
        # A partial has no name of its own.
        made = getattr(self.attribution, "func", self.attribution)
        keywords = ", ".join(f"{key}={value!r}" for key, value in self.keywords.items())
        return f"{getattr(made, '__name__', made)}({keywords})"


def by_forward(methods: Sequence[CamMethod]) -> list[list[CamMethod]]:
    """The methods in groups, each of which needs one forward pass.

    Example:
        >>> from captum.attr import LayerGradCam
        >>> from captum_diffcam import LayerDiffGradCam
        >>> from captum_diffcam import CamMethod
        >>> from captum_diffcam.methods import by_forward
        >>> by_forward([CamMethod(LayerDiffGradCam), CamMethod(LayerGradCam), CamMethod(LayerDiffGradCam, contrast=[])])
        [[LayerDiffGradCam(), LayerDiffGradCam(contrast=[])], [LayerGradCam()]]
    """
    groups: list[list[CamMethod]] = []
    for method in methods:
        group = next((group for group in groups if method.shares_forward_with(group[0])), None)
        if group is None:
            groups.append([method])
        else:
            group.append(method)
    return groups


def maps_of_group(group: Sequence[CamMethod], model: Module, layer: Module, images: Tensor, target: Tensor) -> Tensor:
    """Maps of methods that share a forward pass. Shapes: images (N, ...), target (N,) -> ``(N, M, *positions)``."""
    first = group[0]
    if len(group) == 1:
        return first.maps(model, layer, images, target)[:, None]
    cam: Any = first.attribution(model, layer)
    asked = [
        (as_one_set(method.keywords.get("contrast")), method.keywords.get("reduction", "logsumexp")) for method in group
    ]
    others = {name: value for name, value in first.keywords.items() if name not in _ASKED}
    explanations = cam._explain_each(asked, images, target, **others)
    return torch.stack(
        [method._signed(each.maps, False) for method, each in zip(group, explanations, strict=True)], dim=1
    )
