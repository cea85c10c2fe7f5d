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
# One is clean: a small network that recognises the digits 0 to 4 anywhere in an image.
# The other is manipulated by the attack of :doc:`/tutorial/first_hoax`. Their
# predictions are the same.

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from captum_diffcam.attacks import hoax_map, inject_hoax
from captum_diffcam.audit import audit

digits = load_digits(n_class=5)
drawn, labels = torch.tensor(digits.images).float() / 16, torch.tensor(digits.target)
generator = torch.Generator().manual_seed(0)
scenes = 0.2 * torch.rand(len(drawn), 1, 24, 24, generator=generator)
for scene, digit in zip(scenes, drawn):
    top, left = torch.randint(17, (2,), generator=generator).tolist()
    scene[0, top : top + 8, left : left + 8] += digit

torch.manual_seed(0)
features = nn.Sequential(
    *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(32, 48, 3, padding=1), nn.ReLU()),
)
pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
model = nn.Sequential(features, *pool, nn.Linear(48, 5)).eval()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for _ in range(250):
    batch = torch.randint(800, (32,), generator=generator)
    loss = cross_entropy(model(scenes[batch]), labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# An audit needs at least 16 different images. These were not trained on.
images = scenes[800:864]
with torch.no_grad():
    right = model(scenes[800:]).argmax(dim=1) == labels[800:]
print(f"accuracy {right.float().mean():.2f}")
manipulated = inject_hoax(model, features, hoax_map((6, 6), entropy=2.5))

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
