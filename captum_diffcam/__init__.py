"""Contrastive class activation maps for Captum."""

from captum_diffcam.attribution import LayerDiffGradCam
from captum_diffcam.contrast import top_rivals
from captum_diffcam.equivariant import EquivariantPart
from captum_diffcam.guided import GuidedDiffGradCam
from captum_diffcam.input_attribution import InputAttribution
from captum_diffcam.layers import last_spatial_layer, spatial_layers
from captum_diffcam.layouts import vit_layout
from captum_diffcam.logits import predicted
from captum_diffcam.methods import CamMethod
from captum_diffcam.plus_plus import LayerDiffGradCamPlusPlus
from captum_diffcam.score import ContrastScore

__all__ = [
    "CamMethod",
    "ContrastScore",
    "EquivariantPart",
    "GuidedDiffGradCam",
    "InputAttribution",
    "LayerDiffGradCam",
    "LayerDiffGradCamPlusPlus",
    "last_spatial_layer",
    "predicted",
    "spatial_layers",
    "top_rivals",
    "vit_layout",
]
