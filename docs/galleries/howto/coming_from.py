"""
Come from pytorch-grad-cam, torchcam or Captum
==============================================

You see the code that you write with another library today beside the code for the same
job with this one. The other libraries are pytorch-grad-cam 1.5.7, torchcam 0.5.0 and
Captum 0.9.0.

Lines of code for a job, imports included:

.. lines-of-code::

A script counts the statements of the code below, and a test runs all of it. A statement
that is wrapped counts once. "-" means that you have to look up the layer yourself. The
code of each library follows its own documentation.

From pytorch-grad-cam
---------------------

.. list-table::
   :class: wrapping
   :header-rows: 1
   :widths: 50 50

   * - pytorch-grad-cam
     - captum_diffcam
   * - ``GradCAM(model, [model.layer4])``
     - ``LayerDiffGradCam(model, "layer4")``; a list of layers gives a list of maps
       instead of their mean
   * - ``cam(x, [ClassifierOutputTarget(281)])``
     - ``cam.attribute(x, 281, contrast=[])``
   * - ``cam(x, targets=None)``, ``cam.outputs``
     - ``explanation = cam.explain(x, contrast=[])``, ``explanation.logits``
   * - ``ClassifierOutputSoftmaxTarget(281)``
     - ``cam.attribute(x, 281)``: the same map up to its scale, also where the softmax
       is 1.0000
   * - ``FinerCAM``, ``FinerWeightedTarget(281, [282, 285], 1)``
     - ``cam.attribute(x, 281, contrast=[282, 285])``; no gradient passes through the
       weights of the rivals
   * - ``GradCAMPlusPlus``
     - ``LayerDiffGradCamPlusPlus``, with ``contrast=[]``
   * - ``reshape_transform=vit_reshape_transform``
     - ``layout="vit"``, for any grid
   * - ``SemanticSegmentationTarget``, own targets
     - a function around the model (:doc:`segmentation_and_detection`)
   * - a map from 0 to 1, (N, H, W), NumPy
     - ``figures.heatmap(maps, size)``
   * - ``show_cam_on_image(photo, map)``
     - ``figures.overlay(photo, maps)``, or ``figures.show_maps`` with a legend

From torchcam
-------------

.. list-table::
   :class: wrapping
   :header-rows: 1
   :widths: 50 50

   * - torchcam
     - captum_diffcam
   * - ``GradCAM(model, "layer4")``
     - ``LayerDiffGradCam(model, "layer4")``; there are no hooks to remove
   * - ``GradCAM(model)``, which finds the layer
     - ``LayerDiffGradCam(model, last_spatial_layer(model, x))``
   * - ``extractor(281, model(x))[0]``
     - ``cam.attribute(x, 281, contrast=[])``
   * - ``explain(model, x)``
     - ``cam.explain(x)``, for batches of any size
   * - ``explain(model, x, expected_class_idx=285)``: a map of each of the two classes
     - ``cam.explain(x, contrast=285)``: the map of their difference
   * - ``result.save(folder, photo)``
     - ``captum-diffcam explain --images photos/ --out folder/``
   * - ``FinerCAM(model, layer, gamma=1.0)``, ``comparison_idx=[282, 285]``
     - ``contrast=[282, 285], reduction="mean"``
   * - ``GradCAMpp``
     - ``LayerDiffGradCamPlusPlus``, with ``contrast=[]``
   * - ``reshape_transform=function``
     - ``layout="vit"``, ``layout="swin"`` or the same function
   * - ``targets=function``
     - a function around the model that returns the logits
   * - ``overlay_mask(photo, mask)``
     - ``figures.overlay(photo, maps)``, or ``figures.show_maps`` with a legend
   * - ``LeGrad``, ``ScoreCAM``, ``LayerCAM`` and others
     - not here; ``ContrastScore(model)`` gives them a contrast if they take any model

From Captum
-----------

.. list-table::
   :class: wrapping
   :header-rows: 1
   :widths: 50 50

   * - Captum
     - captum_diffcam
   * - ``LayerGradCam(model, model.layer4)``
     - ``LayerDiffGradCam(model, model.layer4)``, with the same arguments
       (:doc:`swap`)
   * - ``cam.attribute(x, target=281)``
     - ``cam.attribute(x, target=281, contrast=[])``
   * - ``LayerAttribution.interpolate(maps, size)``
     - ``InputAttribution(cam)``, or ``figures.heatmap(maps, size)``
   * - ``visualize_image_attr(...)``
     - ``figures.show_maps(x, maps)``
   * - ``GuidedGradCam``
     - ``GuidedDiffGradCam``
   * - ``NoiseTunnel``, ``infidelity``, ``sensitivity_max``
     - the same, around ``InputAttribution(cam)`` (:doc:`captum_tools`)

The code that is counted
------------------------

All scripts use a ResNet-18 in eval mode (``model``), its ``preprocess``, a photograph
(``photo``) and ``images = preprocess(photo)[None]``.

Save a picture of the map over the photograph
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~

.. lines-of-code:: overlay

With ``preprocess`` the map is drawn over the part of the photograph that the model
sees. The others stretch it over the whole photograph.

Why A and not B?
~~~~~~~~~~~~~~~~

.. lines-of-code:: a_not_b

A map without knowing the layer
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~

.. lines-of-code:: unknown_layer

torchcam takes the last layer with as many dimensions as the input, which for a vision
transformer is the patch embedding. ``last_spatial_layer`` follows tokens, too.

A map of a vision transformer
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~

Here ``model`` is a ``VisionTransformer`` of torchvision.

.. lines-of-code:: vit

Captum's is the product of gradient and activation at each token, because its Grad-CAM
takes tokens for channels. torchcam's LeGrad is a method for attention.

An array from 0 to 1 in the size of the input
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~

.. lines-of-code:: heatmap

From a checkpoint and a folder of images to a report
~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~

.. lines-of-code:: report

The command also writes a page to look at, skips unreadable files, and takes batches and
a GPU. torchcam saves a manifest with each overlay.

The numbers are the same
------------------------

An empty contrast set gives the maps of the other libraries. Where they are installed,
this page compares them.
"""

from importlib.util import find_spec

import numpy as np
import torch
from captum.attr import LayerGradCam
from torchvision.models import resnet18

from captum_diffcam import LayerDiffGradCam
from captum_diffcam.figures import heatmap

torch.manual_seed(0)
model = resnet18().eval()
images = torch.randn(2, 3, 224, 224)
maps = LayerDiffGradCam(model, "layer4").attribute(images, target=281, contrast=[])

theirs = LayerGradCam(model, model.layer4).attribute(images, target=281)
print(f"Captum: largest difference {(maps - theirs).abs().max():.0e}")

# %%
# The other two return the positive part, scaled from 0 to 1. pytorch-grad-cam enlarges
# it to the size of the input, and subtracts the smallest value first.

if find_spec("pytorch_grad_cam"):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(model, [model.layer4]) as cam:
        theirs = cam(images, [ClassifierOutputTarget(281)] * 2)
    difference = np.abs(heatmap(maps, size=224) - theirs).max()
    print(f"pytorch-grad-cam: largest difference {difference:.0e}")

if find_spec("torchcam"):
    from torchcam.methods import GradCAM

    with GradCAM(model, "layer4") as extractor:
        theirs = extractor(281, model(images))[0]
    difference = np.abs(heatmap(maps) - theirs.numpy()).max()
    print(f"torchcam: largest difference {difference:.0e}")

# %%
# The difference to pytorch-grad-cam is that of two ways to enlarge an image.
