"""A class activation map method apart from any model: what is attacked, audited and compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captum.attr import LayerAttribution
from torch import Tensor
from torch.nn import Module

from captum_diffcam.logits import at_least_float32


class CamMethod:
    """An attribution class with the arguments of its ``attribute``, to be applied to one model after another.

    Args:
        attribution: a class such as :class:`captum.attr.LayerGradCam` or :class:`~captum_diffcam.LayerDiffGradCam`, or
            another callable ``(model, layer) -> LayerAttribution``; ``functools.partial`` sets a layout.
        **keywords: arguments of ``attribute`` besides inputs and target, such as ``contrast`` and ``reduction``.

    Example:
        >>> from captum_diffcam import LayerDiffGradCam, top_rivals
        >>> from captum_diffcam.sham import CamMethod
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
        maps = self.attribution(model, layer).attribute(images, target, **self.keywords, **options)
        if not isinstance(maps, Tensor) or maps.ndim < 3 or maps.shape[1] != 1:
            got = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise ValueError(f"layer: {self} gave {got}; allowed is a layer with one map (N, 1, *positions)")
        # Captum's maps come in the model's precision, and with their graph.
        return at_least_float32(maps if create_graph else maps.detach())[:, 0]

    def __repr__(self) -> str:
        # A partial has no name of its own.
        made = getattr(self.attribution, "func", self.attribution)
        keywords = ", ".join(f"{key}={value!r}" for key, value in self.keywords.items())
        return f"{getattr(made, '__name__', made)}({keywords})"
