"""Contrastive class activation maps for Captum."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from captum_diffcam import figures, metrics
from captum_diffcam.attribution import LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam
from captum_diffcam.calibrated import CalibratedMap
from captum_diffcam.contrast import Contrast, top_rivals
from captum_diffcam.equivariant import EquivariantPart
from captum_diffcam.evidence import evidence_in
from captum_diffcam.guided import GuidedDiffGradCam
from captum_diffcam.input_attribution import InputAttribution
from captum_diffcam.layers import SpatialLayer, last_spatial_layer, spatial_layers
from captum_diffcam.layouts import vit_layout
from captum_diffcam.logits import Target, predicted, two_logits
from captum_diffcam.methods import CamMethod
from captum_diffcam.results import Explanation, RivalMaps
from captum_diffcam.score import ContrastScore

if TYPE_CHECKING:
    from captum_diffcam import attacks, audit

__version__ = "0.3.0"

__all__ = [
    "CalibratedMap",
    "CamMethod",
    "Contrast",
    "ContrastScore",
    "EquivariantPart",
    "Explanation",
    "GuidedDiffGradCam",
    "InputAttribution",
    "LayerDiffGradCam",
    "LayerDiffGradCamPlusPlus",
    "LayerDiffHiResCam",
    "RivalMaps",
    "SpatialLayer",
    "Target",
    "attacks",
    "audit",
    "evidence_in",
    "figures",
    "last_spatial_layer",
    "metrics",
    "predicted",
    "spatial_layers",
    "top_rivals",
    "two_logits",
    "vit_layout",
]


def __getattr__(name: str) -> Any:
    """Import attacks and audit when they are first used: what they need takes longer than everything else."""
    if name in ("attacks", "audit"):
        return import_module(f"captum_diffcam.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
