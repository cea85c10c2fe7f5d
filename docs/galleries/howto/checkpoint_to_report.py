r"""
From a checkpoint to a report
=============================

You get a page of maps for a folder of your own images, from the checkpoint of your
fine-tuned model and one command:

.. code-block:: bash

   captum-diffcam explain --images photos/ --model resnet50 --weights mine.pt \
       --classes names.txt --out report/

The head gets the size that the checkpoint has. If your model is not one of torchvision,
timm or Hugging Face, name a function that builds it:
``--model package.module:function``. This page does that with a small ResNet, from
training to report.
"""

# %%
# A model in a module of its own
# ------------------------------
#
# The command has to build the model, so the function stands in a file. A parameter
# ``num_classes`` is filled in from the checkpoint.

import sys
from pathlib import Path
from tempfile import mkdtemp

folder = Path(mkdtemp())
_ = (folder / "shapes_model.py").write_text(
    """
from torch import nn
from torchvision.models.resnet import BasicBlock


def build(num_classes=3):
    def halve(channels):
        skip = nn.Conv2d(channels, 2 * channels, 1, stride=2)
        return BasicBlock(channels, 2 * channels, stride=2, downsample=skip)

    stem = [nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [BasicBlock(16, 16), halve(16), BasicBlock(32, 32)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes)]
    return nn.Sequential(*stem, *blocks, *head)
"""
)

# %%
# Training images and images to explain
# -------------------------------------
#
# The larger of two shapes gives an image its class. The images to explain are files of
# another size, as photographs are.

import torch
from PIL import Image, ImageDraw
from torch import nn
from torchvision.transforms.functional import normalize, to_tensor

sys.path.insert(0, str(folder))
from shapes_model import build

CLASSES = ["disc", "square", "cross"]


def draw(seed, size):
    """Return an image with a large and a small shape, and the class of the large."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.randperm(3, generator=generator)[:2].tolist()
    colours = torch.randint(140, 256, (2, 3), generator=generator).tolist()
    heights = torch.randint(12, 37, (2,), generator=generator).tolist()
    columns = [14, 34] if seed % 2 else [34, 14]
    image = Image.new("RGB", (size, size), (90, 90, 90))
    brush = ImageDraw.Draw(image)
    for shape, colour, x, y, r in zip(shapes, colours, columns, heights, (9, 6)):
        tall = r / 3 if shape == 2 else r
        for width, height in ((tall, r), (r, tall)):
            corners = (x - width, y - height, x + width, y + height)
            kind = brush.ellipse if shape == 0 else brush.rectangle
            kind([size * corner / 48 for corner in corners], tuple(colour))
    return image, shapes[0]


drawn = [draw(seed, 48) for seed in range(640)]
# The statistics of ImageNet, which the command takes unless you pass --mean and --std.
statistics = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
inputs = torch.stack([normalize(to_tensor(image), *statistics) for image, _ in drawn])
labels = torch.tensor([label for _, label in drawn])

torch.manual_seed(0)
model = build()
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for step in range(60):
    batch = torch.arange(32 * step, 32 * step + 32) % len(inputs)
    loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss of the last step {loss.item():.2f}")

# %%
# The checkpoint and the folder
# -----------------------------
#
# A state dict, or what a training framework saves around one, such as Lightning's
# ``state_dict`` with ``model.`` before each name.

checkpoint = {"epoch": 1, "state_dict": model.state_dict()}
torch.save(checkpoint, folder / "mine.pt")
(folder / "names.txt").write_text("\n".join(CLASSES))
(folder / "photos").mkdir()
for number in range(6):
    image, label = draw(1000 + number, 320)
    image.save(folder / "photos" / f"{CLASSES[label]}-{number}.png")

# %%
# The report
# ----------
#
# This is what you would type in a terminal, in the folder of ``shapes_model.py``.
# ``--contrast`` can be repeated: one map against all other classes, and one against the
# strongest rival.

import subprocess

command = """explain --images photos --model shapes_model:build --weights mine.pt
    --classes names.txt --size 48 --contrast all --contrast top1 --out report"""
captum_diffcam = [sys.executable, "-m", "captum_diffcam"]  # or captum-diffcam
finished = subprocess.run(
    [*captum_diffcam, *command.split()], cwd=folder, capture_output=True, text=True
)
print(finished.stdout)
print("exit code", finished.returncode)

# %%
# ``report/index.html`` is the page to look at. With ``--calibrate`` it also shows
# each map corrected by 9 measured occlusions, and how far the map was from them
# (:class:`~captum_diffcam.CalibratedMap`). This takes 11 further forward passes an
# image for each ``--contrast``. Beside the page are the overlays, the maps as NumPy
# files, and a manifest:

import json

report = folder / "report"
manifest = json.loads((report / "manifest.json").read_text())
print("layer", manifest["layer"])
for image in manifest["images"]:
    predicted = image["prediction"]
    print(f"{image['file']:12} {predicted['name']:7} {predicted['probability']:.2f}")

# %%
# The overlays have the size of the images, with the class and its probability:

import matplotlib.pyplot as plt

figure, axes = plt.subplots(2, 3, figsize=(8, 5.4), layout="compressed")
for ax, image in zip(axes.flat, manifest["images"]):
    ax.imshow(Image.open(report / image["overlays"][0]))
    ax.set_axis_off()

# %%
# Another question, another layer
# -------------------------------
#
# * ``--target disc --contrast square``: why a disc rather than a square?
# * ``--contrast top5``: against the five strongest rivals together.
# * ``--layer 3``: an earlier layer gives a finer map. Without this option, the last
#   layer with positions is found, and the page names it (:doc:`layers`).
#
# ``captum-diffcam explain --help`` lists all options.
#
# Preprocessing
# -------------
#
# Models of torchvision, timm and Hugging Face bring theirs along. For a function the
# command resizes to 224 pixels, or to ``--size``, and normalises with the statistics of
# ImageNet, or with ``--mean`` and ``--std``. A wrong normalisation does not fail:
# compare some predictions of the report with those of your own evaluation.
