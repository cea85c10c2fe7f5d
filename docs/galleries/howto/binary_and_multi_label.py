"""
Explain binary and multi-label models
=====================================

You get maps and figures for the three kinds of models that do not choose among many
classes: one logit, two logits, and one logit for each label. The kinds differ in one
thing, which is what a class competes with:

.. list-table::
   :class: wrapping
   :header-rows: 1
   :widths: 34 30 36

   * - Output
     - A class competes with
     - Call
   * - one logit, (N,) or (N, 1), for a sigmoid
     - its absence, which has the logit 0
     - ``explain(images)``
   * - two logits, (N, 2), for a softmax
     - the other class
     - ``explain(images)``
   * - one logit for each label, (N, C), for a sigmoid each
     - its own absence, not the other labels
     - ``explain(images, target=label, contrast=[])``
"""

# %%
# A small multi-label model
# -------------------------
#
# The images have 40 x 40 pixels. Each contains a disc, a square and a cross, or only
# some of them. The network is trained on this page, in a few seconds.

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from captum_diffcam import LayerDiffGradCam, predicted, two_logits
from captum_diffcam.figures import show_maps

LABELS = ["disc", "square", "cross"]
grid = torch.stack(torch.meshgrid([torch.arange(11) - 5] * 2, indexing="ij")).float()
disc = grid.norm(dim=0) <= 5
square = grid.abs().amax(dim=0) <= 4
cross = grid.abs().amin(dim=0) <= 1
SHAPES = torch.stack([disc, square, cross])


def draw(count, seed):
    """Return images (N, 3, 40, 40) and labels (N, 3), 1 for each shape present."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.35 + 0.1 * torch.rand(count, 3, 40, 40, generator=generator)
    labels = torch.randint(2, (count, 3), generator=generator).float()
    corners = torch.tensor([(2, 2), (2, 26), (26, 2), (26, 26)])
    for image, present in zip(images, labels):
        places = corners[torch.randperm(4, generator=generator)]
        for shape, (top, left) in zip(present.nonzero()[:, 0], places.tolist()):
            colour = 0.6 + 0.4 * torch.rand(3, 1, 1, generator=generator)
            patch = image[:, top : top + 11, left : left + 11]
            patch[:] = torch.where(SHAPES[shape], colour, patch)
    return images, labels


torch.manual_seed(0)
features = nn.Sequential(
    *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU()),
    *(nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.BatchNorm2d(32), nn.ReLU()),
    *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
)
model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
all_images, all_labels = draw(1000, seed=0)
for step in range(150):
    batch = torch.arange(32 * step, 32 * step + 32) % len(all_images)
    loss = binary_cross_entropy_with_logits(model(all_images[batch]), all_labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model = model.eval()
test_images, test_labels = draw(200, seed=1)
with torch.no_grad():
    right = (model(test_images) > 0) == (test_labels > 0.5)
print(f"labels predicted correctly: {right.float().mean():.1%}")

# %%
# Multi-label: each label by itself
# ---------------------------------
#
# A multi-label model decides on each label by that label's own logit. So the contrast
# set is empty, ``contrast=[]``. ``probabilities="sigmoid"`` prints the probability of
# each label by itself; without it a softmax of all labels would be printed, which this
# model does not compute.

images = test_images[[5, 1]]
cam = LayerDiffGradCam(model, "0")
explanations = {
    name: cam.explain(images, target=label, contrast=[])
    for label, name in enumerate(LABELS)
}
show_maps(images, {name: each.maps for name, each in explanations.items()})

# %%
# All maps of an image share one scale. A label that is absent has little that speaks
# for it, and often something all over the image that speaks against it.
#
# One label with its probability:

show_maps(images, explanations["square"], classes=LABELS, probabilities="sigmoid")

# %%
# A contrast of two labels is allowed: ``contrast=1`` with ``target=0`` asks why the
# disc has a higher logit than the square. The model does not decide anything by that
# difference.
#
# One logit
# ---------
#
# The same network with one output only, the logit of "there is a disc". ``explain``
# explains the model's decision for each image: class 1 if the logit is positive, class
# 0 otherwise. The map of class 0 is the negative of the map of class 1, so red always
# speaks for the decision.

last = nn.Linear(32, 1)
last.load_state_dict({"weight": model[3].weight[:1], "bias": model[3].bias[:1]})
one_logit = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), last).eval()

explanation = LayerDiffGradCam(one_logit, "0").explain(images, target=predicted)
print(explanation.target.tolist(), explanation.logits.tolist())
show_maps(images, explanation, classes=["no disc", "disc"])

# %%
# ``target=predicted`` is the default of ``explain``. In ``attribute`` the default is
# the logit itself, ``target=None``, as in Captum: then red speaks for the disc in every
# image.
#
# Two classes
# -----------
#
# With ``two_logits`` a model with one logit becomes an ordinary model of two classes,
# whose softmax is the sigmoid of the logit. You can then ask for either class by its
# number, rank rivals, or audit the model.

model_of_two = two_logits(one_logit)
cam = LayerDiffGradCam(model_of_two, "model.0")
maps = {
    name: cam.attribute(images, target=label)
    for label, name in enumerate(("no disc", "disc"))
}
torch.testing.assert_close(maps["no disc"], -maps["disc"])
show_maps(images, maps)

# %%
# A model that was trained with two logits needs nothing: the default contrast is the
# other class, and the two maps are again each other's negative.
