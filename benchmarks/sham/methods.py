"""The methods that are attacked or measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from captum.attr import LayerGradCam

from benchmarks.common.names import FAMILIES, GRAD_CAM, GRAD_CAM_PLUS_PLUS, REDUCTIONS
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, top_rivals
from captum_diffcam.sham import CamMethod

_VARIANTS = (
    *(("every other class", None, reduction) for reduction in REDUCTIONS),
    ("top 5 rivals", top_rivals(5), "logsumexp"),
    ("top 5 rivals", top_rivals(5), "mean"),
    # Of a single rival all reductions are the same.
    ("strongest rival", top_rivals(1), "logsumexp"),
)


def measured_methods(keywords: Mapping[str, Any]) -> dict[str, CamMethod]:
    """Every method that is attacked or measured, by name; keywords are arguments of all of them."""
    # Captum lacks Grad-CAM++; ours is just that with an empty contrast set.
    methods = {
        GRAD_CAM: CamMethod(LayerGradCam, **keywords),
        GRAD_CAM_PLUS_PLUS: CamMethod(LayerDiffGradCamPlusPlus, contrast=[], **keywords),
    }
    for plain, attribution in ((GRAD_CAM, LayerDiffGradCam), (GRAD_CAM_PLUS_PLUS, LayerDiffGradCamPlusPlus)):
        for label, contrast, reduction in _VARIANTS:
            method = CamMethod(attribution, contrast=contrast, reduction=reduction, **keywords)
            methods[f"{FAMILIES[plain]} {reduction}, {label}"] = method
    return methods
