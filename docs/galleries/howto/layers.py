"""
Choose a layer, token layers included
=====================================

The last layer with positions is the usual choice: ``model.layer4`` of a ResNet,
``model.features`` of a DenseNet or a ConvNeXt. An earlier one gives a finer map of less
that the decision rests on. :doc:`/results/zoo` names a layer for every classifier of
torchvision.

The models on this page are small and have random weights: there is nothing to look at,
only shapes.
"""

# %%
# Any number of positions
# -----------------------
#
# Along a time series, in an image, in a volume. With ``attribute_to_layer_input=True``
# it is what goes into the layer that is explained.

import torch
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer, resnet18

from captum_diffcam import LayerDiffGradCam, vit_layout

resnet = resnet18().eval()
cam = LayerDiffGradCam(resnet, resnet.layer4)
print(cam.attribute(torch.rand(2, 3, 224, 224), target=281).shape)

convolution = nn.Conv1d(1, 8, 5)
head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))
series = nn.Sequential(convolution, nn.ReLU(), head)
cam = LayerDiffGradCam(series, convolution)
print(cam.attribute(torch.rand(2, 1, 100), target=0).shape)

# %%
# Vision transformers
# -------------------
#
# Their layers keep channels last: tokens (N, T, D). Read as a convolution's, features
# would be averaged and tokens weighed; Captum's LayerGradCam does so without a word,
# our default warns. The layout is part of the constructor. Class and register tokens,
# which come first, are left out: they have no position.

size = {"num_layers": 3, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
vit = VisionTransformer(image_size=64, patch_size=8, **size).eval()
nn.init.normal_(vit.heads.head.weight)
images = torch.rand(2, 3, 64, 64)
last = vit.encoder.layers[-1]
cam = LayerDiffGradCam(vit, last.ln_1, layout="vit")
print(cam.attribute(images, target=3).shape)

# %%
# Behind the attention of the last block only the class token reaches the output, so no
# patch has a gradient there. The error says which layer to take instead.

try:
    LayerDiffGradCam(vit, last, layout="vit").attribute(images, target=3)
except ValueError as error:
    print(error)

# %%
# Patches that are no square have their grid named:

cam = LayerDiffGradCam(vit, last.ln_1, layout=vit_layout(grid=(4, 16)))
print(cam.attribute(images, target=3).shape)

# %%
# A Swin keeps (N, H, W, D), and anything else can be said with a function that
# reorders:

swin = SwinTransformer([4, 4], 24, [1, 1], [2, 2], [4, 4], num_classes=10).eval()
for layout in ("swin", lambda tensor: tensor.movedim(-1, 1)):
    cam = LayerDiffGradCam(swin, swin.features, layout=layout)
    print(cam.attribute(images, target=3).shape)

# %%
# What a model returns
# --------------------
#
# * Logits (N, C): ``target`` is a class, or one per example.
# * One number per example, (N,) or (N, 1): the logit of a binary model is the log-odds
#   already. ``target`` is None, and there is nothing to contrast it with.
# * Logits (N, C, H, W) of a segmentation: ``target=(class, row, column)``, contrasted
#   at that position. A whole region takes a function around the model, whose reduction
#   is yours.
# * A dictionary or a tuple: a function picks the logits.

features = nn.Conv2d(3, 8, 3, padding=1)
segmentation = nn.Sequential(features, nn.ReLU(), nn.Conv2d(8, 21, 1)).eval()
cam = LayerDiffGradCam(segmentation, features)
print(cam.attribute(images, target=(15, 40, 20)).shape)

mask = torch.zeros(64, 64, dtype=torch.bool)
mask[30:50, 10:30] = True


def region(inputs):
    """The mean logits over the region, from (N, C, H, W) to (N, C)."""
    return segmentation(inputs)[..., mask].mean(-1)


print(LayerDiffGradCam(region, features).attribute(images, target=15).shape)


def from_dictionary(inputs):
    """The logits out of what torchvision's segmentation models return."""
    return {"out": segmentation(inputs)}["out"]


cam = LayerDiffGradCam(from_dictionary, features)
print(cam.attribute(images, target=(15, 40, 20)).shape)
