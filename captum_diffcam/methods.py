"""A class activation map method without a model: what is attacked, audited and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from captum.attr import LayerAttribution
from torch import Tensor
from torch.nn import Module

from captum_diffcam.attribution import Layer, LayerDiffGradCam, attribute_each
from captum_diffcam.contrast import as_one_set
from captum_diffcam.layers import SpatialLayer, resolve_layer
from captum_diffcam.logits import at_least_float32


class CamMethod:
    """An attribution class with keyword arguments for its ``attribute``, to be applied to one model after another.

    Args:
        attribution: a class such as :class:`captum.attr.LayerGradCam` or :class:`~captum_diffcam.LayerDiffGradCam`, or
            another callable ``(model, layer) -> LayerAttribution``, such as a ``functools.partial`` with a layout.
        **keywords: arguments of ``attribute`` other than inputs and target, such as ``contrast`` and ``reduction``.

    Raises:
        TypeError: ``attribution`` is not callable.

    Example:
        >>> from captum_diffcam import CamMethod, LayerDiffGradCam
        >>> CamMethod(LayerDiffGradCam, reduction="max")
        LayerDiffGradCam(reduction='max')
    """

    def __init__(self, attribution: Callable[[Module, Any], LayerAttribution], **keywords: Any) -> None:
        if not callable(attribution):
            raise TypeError(
                f"`attribution` must be a class or another callable (model, layer), got {type(attribution).__name__}."
            )
        self.attribution = attribution
        self.keywords = keywords

    def maps(
        self, model: Module, layer: Layer, images: Tensor, target: Tensor, *, create_graph: bool = False
    ) -> Tensor:
        """Return the signed maps of a model.

        Args:
            model: returns logits (N, C).
            layer: the layer to explain: a module of the model, its name, or a :class:`SpatialLayer
                <captum_diffcam.layers.SpatialLayer>`, which also says whether to explain the layer's input, and its
                layout.
            images: (N, ...).
            target: (N,), the class of each image.
            create_graph: return maps that are differentiable with respect to the model's parameters.

        Returns:
            ``(N, *positions)``, in float32 or better.

        Raises:
            ValueError: the attribution does not return one map per image, as for a layer without positions, or it
                cannot use the layout of the layer.
        """
        options: dict[str, Any] = {"grad_kwargs": {"create_graph": True}} if create_graph else {}
        # A flat contrast is one set for every batch, even if a batch has as many images as the set has classes.
        keywords = {name: as_one_set(value) if name == "contrast" else value for name, value in self.keywords.items()}
        if isinstance(layer, str):
            layer = resolve_layer(model, layer).layer
        if isinstance(layer, SpatialLayer) and self._needs_a_module():
            if layer.layout is not None:
                raise ValueError(
                    f"`layer` must have a convolution's layout for {self}, got layout {layer.layout!r}. Use "
                    "LayerDiffGradCam; with contrast=[] its maps are those of Grad-CAM."
                )
            if layer.attribute_to_layer_input:
                keywords["attribute_to_layer_input"] = True
            layer = layer.layer
        maps = self.attribution(model, layer).attribute(images, target, **keywords, **options)
        return _as_maps(maps, self, create_graph=create_graph)

    def _contrast_score(self) -> tuple[Any, Any] | None:
        """Return contrast set and reduction if these are all that tells the method from LayerDiffGradCam."""
        if self.attribution is not LayerDiffGradCam or self.keywords.keys() - {"contrast", "reduction"}:
            return None
        return as_one_set(self.keywords.get("contrast")), self.keywords.get("reduction", "logsumexp")

    def _needs_a_module(self) -> bool:
        """Return whether the attribution is a class that does not know SpatialLayer, such as Captum's."""
        return isinstance(self.attribution, type) and not issubclass(self.attribution, LayerDiffGradCam)

    def __repr__(self) -> str:
        # A functools.partial has no name of its own.
        attribution = getattr(self.attribution, "func", self.attribution)
        keywords = ", ".join(f"{name}={value!r}" for name, value in self.keywords.items())
        return f"{getattr(attribution, '__name__', attribution)}({keywords})"


def _as_maps(maps: Any, method: CamMethod, *, create_graph: bool = False) -> Tensor:
    if not isinstance(maps, Tensor) or maps.ndim < 3 or maps.shape[1] != 1:
        got = f"shape {tuple(maps.shape)}" if isinstance(maps, Tensor) else type(maps).__name__
        raise ValueError(
            f"`layer` must give one map (N, 1, *positions), got {got} from {method}. Choose another layer."
        )
    # Captum returns maps in the model's precision and with their graph.
    return at_least_float32(maps if create_graph else maps.detach())[:, 0]


def maps_of_methods(
    methods: Sequence[CamMethod], model: Module, layer: Layer, images: Tensor, target: Tensor
) -> list[Tensor]:
    """Return the maps of each method, ``(N, *positions)``. Contrasts of LayerDiffGradCam share one forward pass."""
    scores = [method._contrast_score() for method in methods]
    sharing = [score for score in scores if score is not None]
    if len(sharing) < 2:
        return [method.maps(model, layer, images, target) for method in methods]
    shared = iter(attribute_each(LayerDiffGradCam(model, layer), images, target, sharing))
    return [
        method.maps(model, layer, images, target) if score is None else _as_maps(next(shared), method)
        for method, score in zip(methods, scores, strict=True)
    ]


def as_methods(methods: CamMethod | Iterable[CamMethod]) -> list[CamMethod]:
    """Return one or several methods as a list."""
    listed = [methods] if isinstance(methods, CamMethod) else list(methods) if isinstance(methods, Iterable) else []
    if not listed or not all(isinstance(method, CamMethod) for method in listed):
        raise TypeError(f"`methods` must be a CamMethod or several, got {methods!r}.")
    return listed


def layer_of_model(model: Module, layer: Layer) -> Module | SpatialLayer:
    """Return the layer after checking that it is part of the model: a SpatialLayer as it is, otherwise the module."""
    if not isinstance(model, Module):
        raise TypeError(f"`model` must be a torch.nn.Module, got {type(model).__name__}.")
    module = resolve_layer(model, layer).layer
    if not any(part is module for part in model.modules()):
        raise ValueError(
            f"`layer` must be a module of the model, got a {type(module).__name__} that is not part of it. "
            "The layers of a copy are not those of the original."
        )
    return layer if isinstance(layer, SpatialLayer) else module


@contextmanager
def in_eval_mode(model: Module) -> Iterator[None]:
    """Set the model to eval mode, and restore the mode of every module afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
