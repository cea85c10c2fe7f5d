"""The compared methods: Captum's Grad-CAM, plain Grad-CAM++, and the contrastive variants of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from captum.attr import LayerAttribution, LayerGradCam
from torch import Tensor, nn

from benchmarks.common.contrast_sets import ContrastSet
from benchmarks.common.names import FAMILIES, GRAD_CAM, GRAD_CAM_PLUS_PLUS
from benchmarks.common.options import UsageError
from benchmarks.common.probability import SCORES, Transformed
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus
from captum_diffcam.layers import SpatialLayer


@dataclass(frozen=True)
class Method:
    """One way to make a map."""

    family: str
    compared_with: str
    """The plain method that its maps are compared with."""
    attribution: LayerAttribution
    keywords: dict[str, Any] = field(default_factory=dict)
    contrast: ContrastSet | None = None
    reduction: str | None = None

    @property
    def name(self) -> str:
        """A unique name."""
        return f"{self.family} {self.reduction}, {self.contrast.label}" if self.contrast else self.family

    def maps(self, inputs: Tensor, target: int) -> Tensor:
        """Return signed maps. Shapes: (N, 3, H, W) -> (N, h, w)."""
        try:
            maps: Tensor = self.attribution.attribute(inputs, target=target, **self.keywords)
        except ValueError as error:
            # The layer cannot be explained, or the logits are not finite: the message says which.
            raise UsageError(str(error)) from error
        # LayerGradCam returns maps with their graph.
        return maps.detach()[:, 0]


def compared_methods(
    model: nn.Module, layer: SpatialLayer, variants: Sequence[tuple[ContrastSet, str]]
) -> list[Method]:
    """Return plain Grad-CAM of several scores with its contrastive variants, then Grad-CAM++ with its own."""
    diff, diff_plus_plus = (method(model, layer) for method in (LayerDiffGradCam, LayerDiffGradCamPlusPlus))
    # LayerGradCam takes tokens for channels. With an empty contrast set, LayerDiffGradCam is the same method.
    plain = [Method(GRAD_CAM, GRAD_CAM, diff, {"contrast": []})]
    if layer.layout is None:
        side = {"attribute_to_layer_input": layer.attribute_to_layer_input}
        models = {GRAD_CAM: model, **{name: Transformed(model, score) for name, score in SCORES.items()}}
        plain = [Method(name, GRAD_CAM, LayerGradCam(of, layer.layer), side) for name, of in models.items()]

    def contrastive(family: str, attribution: LayerAttribution) -> list[Method]:
        return [
            Method(
                FAMILIES[family],
                family,
                attribution,
                {"contrast": contrast.argument, "reduction": reduction},
                contrast,
                reduction,
            )
            for contrast, reduction in variants
        ]

    return [
        *plain,
        *contrastive(GRAD_CAM, diff),
        # Captum has no Grad-CAM++; with an empty contrast set, LayerDiffGradCamPlusPlus is that.
        Method(GRAD_CAM_PLUS_PLUS, GRAD_CAM, diff_plus_plus, {"contrast": []}),
        *contrastive(GRAD_CAM_PLUS_PLUS, diff_plus_plus),
    ]
