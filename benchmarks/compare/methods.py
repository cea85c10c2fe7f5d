"""The methods under comparison: Captum's Grad-CAM, plain Grad-CAM++, and the contrastive variants of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from benchmarks.common.contrast_sets import ContrastSet
from benchmarks.common.layers import Layer
from benchmarks.common.names import FAMILIES, GRAD_CAM, GRAD_CAM_PLUS_PLUS
from benchmarks.common.options import UsageError
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus


@dataclass(frozen=True)
class Method:
    """One way to make a map."""

    family: str
    compared_with: str
    """The method to measure its maps against: the one that it changes in one respect."""
    attribution: LayerAttribution
    keywords: dict[str, Any] = field(default_factory=dict)
    contrast: ContrastSet | None = None
    reduction: str | None = None

    @property
    def name(self) -> str:
        """Unique among methods that are compared."""
        return f"{self.family} {self.reduction}, {self.contrast.label}" if self.contrast else self.family

    def maps(self, inputs: Tensor, target: int) -> Tensor:
        """Signed maps, before any ReLU. Shapes: (N, 3, H, W) -> (N, h, w)."""
        try:
            maps: Tensor = self.attribution.attribute(inputs, target=target, **self.keywords)
        except ValueError as error:
            # The layer is of no use, or the logits are not finite: the library's message names which.
            raise UsageError(str(error)) from error
        # Captum's maps come with their graph.
        return maps.detach()[:, 0]


def compared_methods(model: nn.Module, layer: Layer, variants: Sequence[tuple[ContrastSet, str]]) -> list[Method]:
    """Plain Grad-CAM with its contrastive variants, then Grad-CAM++ with its own."""
    side = {"attribute_to_layer_input": layer.at_input}
    diff, diff_plus_plus = (
        method(model, layer.module, layout=layer.layout) for method in (LayerDiffGradCam, LayerDiffGradCamPlusPlus)
    )
    # Captum's takes tokens for channels; with an empty contrast set ours is what it would be.
    plain = Method(GRAD_CAM, GRAD_CAM, diff, {**side, "contrast": []})
    if layer.layout is None:
        plain = Method(GRAD_CAM, GRAD_CAM, LayerGradCam(model, layer.module), side)

    def contrastive(family: str, attribution: LayerAttribution) -> list[Method]:
        return [
            Method(
                FAMILIES[family],
                family,
                attribution,
                {**side, "contrast": contrast.argument, "reduction": reduction},
                contrast,
                reduction,
            )
            for contrast, reduction in variants
        ]

    return [
        plain,
        *contrastive(GRAD_CAM, diff),
        # Captum lacks Grad-CAM++; ours is just that with an empty contrast set.
        Method(GRAD_CAM_PLUS_PLUS, GRAD_CAM, diff_plus_plus, {**side, "contrast": []}),
        *contrastive(GRAD_CAM_PLUS_PLUS, diff_plus_plus),
    ]
