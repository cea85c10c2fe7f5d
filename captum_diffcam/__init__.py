"""Contrastive class activation maps for Captum."""

from captum_diffcam import attacks, audit, figures, metrics
from captum_diffcam.attribution import LayerDiffGradCam, LayerDiffGradCamPlusPlus
from captum_diffcam.contrast import Contrast, top_rivals
from captum_diffcam.equivariant import EquivariantPart
from captum_diffcam.guided import GuidedDiffGradCam
from captum_diffcam.input_attribution import InputAttribution
from captum_diffcam.layers import SpatialLayer, last_spatial_layer, spatial_layers
from captum_diffcam.layouts import vit_layout
from captum_diffcam.logits import Target, predicted, two_logits
from captum_diffcam.methods import CamMethod
from captum_diffcam.results import Explanation, RivalMaps
from captum_diffcam.score import ContrastScore

__version__ = "0.3.0"

__all__ = [
    "CamMethod",
    "Contrast",
    "ContrastScore",
    "EquivariantPart",
    "Explanation",
    "GuidedDiffGradCam",
    "InputAttribution",
    "LayerDiffGradCam",
    "LayerDiffGradCamPlusPlus",
    "RivalMaps",
    "SpatialLayer",
    "Target",
    "attacks",
    "audit",
    "figures",
    "last_spatial_layer",
    "metrics",
    "predicted",
    "spatial_layers",
    "top_rivals",
    "two_logits",
    "vit_layout",
]
