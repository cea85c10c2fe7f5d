"""
Explain segmentation and detection
==================================

You get a map for one pixel, for a region, or for one detected object: why this class
there, and not another. You say two things: which place of the output, and which
dimension holds the classes.

.. list-table::
   :class: wrapping
   :header-rows: 1
   :widths: 32 34 34

   * - Output
     - A single place
     - Several places together
   * - segmentation, (N, C, H, W)
     - ``target=(class, row, column)``
     - a function that averages the logits of a region
   * - detection, (N, queries, C)
     - ``class_dim=-1``, ``target=(query, class)``
     - a function that returns the logits of chosen queries
"""

# %%
# A small model that segments and detects
# ---------------------------------------
#
# Images of 40 x 40 pixels with two of three shapes. The network predicts a class for
# every cell of 4 x 4 pixels, and class 0 is the background. Enlarged to pixels, its
# output is a segmentation; as a list of cells, it is what a detector such as DETR
# returns: queries with logits.

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from captum_diffcam import (
    LayerDiffGradCam,
    LayerDiffHiResCam,
    last_spatial_layer,
    predicted,
    top_rivals,
)
from captum_diffcam.figures import show_maps, show_rivals

CLASSES = ["background", "disc", "square", "cross"]
grid = torch.stack(torch.meshgrid([torch.arange(11) - 5] * 2, indexing="ij")).float()
disc = grid.norm(dim=0) <= 5
square = grid.abs().amax(dim=0) <= 4
cross = grid.abs().amin(dim=0) <= 1


def draw(count, seed):
    """Return images (N, 3, 40, 40) and the class of every pixel, (N, 40, 40)."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.35 + 0.1 * torch.rand(count, 3, 40, 40, generator=generator)
    pixels = torch.zeros(count, 40, 40, dtype=torch.int64)
    corners = torch.tensor([(2, 2), (2, 26), (26, 2), (26, 26)])
    for image, classes in zip(images, pixels):
        places = corners[torch.randperm(4, generator=generator)[:2]].tolist()
        shapes = torch.randperm(3, generator=generator)[:2].tolist()
        for shape, (top, left) in zip(shapes, places):
            patch = image[:, top : top + 11, left : left + 11]
            inside = (disc, square, cross)[shape]
            colour = 0.6 + 0.4 * torch.rand(3, 1, 1, generator=generator)
            patch[:] = torch.where(inside, colour, patch)
            classes[top : top + 11, left : left + 11][inside] = 1 + shape
    return images, pixels


torch.manual_seed(0)
features = nn.Sequential(
    *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU()),
    *(nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.BatchNorm2d(32), nn.ReLU()),
    *(nn.Conv2d(32, 32, 5, padding=2), nn.BatchNorm2d(32), nn.ReLU()),
)
head = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 4, 1))
cells = nn.Sequential(features, head)
segmenter = nn.Sequential(cells, nn.Upsample(scale_factor=4, mode="bilinear"))
optimizer = torch.optim.Adam(cells.parameters(), lr=1e-2)
rarity = torch.tensor([0.2, 1.0, 1.0, 1.0])  # most cells are background
images, pixels = draw(640, seed=0)
for step in range(100):
    batch = torch.arange(32 * step, 32 * step + 32) % len(images)
    centres = pixels[batch, 2::4, 2::4]
    loss = cross_entropy(cells(images[batch]), centres, rarity)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
segmenter = segmenter.eval()
images, pixels = draw(50, seed=1)
with torch.no_grad():
    segmentation = segmenter(images).argmax(dim=1)
right = (segmentation == pixels)[pixels > 0].float().mean()
print(f"pixels of shapes predicted correctly: {right:.0%}")

# %%
# Segmentation: one pixel
# -----------------------
#
# ``target`` has an index for each dimension of the output after the first: the class,
# then the row and the column. ``contrast`` names classes, compared at that pixel. For
# several images pass a list with one such tuple for each.

image = images[:1]
row, column = (segmentation[0] == 2).nonzero()[20].tolist()
cam = LayerDiffGradCam(segmenter, "0.0")
maps = {
    "square rather\nthan all others": cam.attribute(image, target=(2, row, column)),
    "square rather\nthan background": cam.attribute(
        image, target=(2, row, column), contrast=0
    ),
}
show_maps(image, maps, limits="map")

# %%
# Segmentation: a region
# ----------------------
#
# A function around the model returns logits (N, C) for the region: here the mean over
# all pixels that the model assigns to a class. You choose the region and how it is
# averaged. With logits (N, C) everything works as for a classifier, names and
# probabilities included. The layer is named in the model inside of the function, or
# passed as a module.

region = segmentation[0] == 2


def region_logits(images):
    """Return the mean logits over the region, (N, C)."""
    return segmenter(images)[..., region].mean(dim=-1)


cam = LayerDiffGradCam(region_logits, last_spatial_layer(region_logits, image))
show_maps(image, cam.explain(image), classes=CLASSES)

# %%
# torchvision's segmentation models return a dictionary, so ``model(images)["out"]``
# stands in such a function. Models of Hugging Face have ``.logits``.
#
# Detection: one query
# --------------------
#
# DETR and its successors return logits (N, queries, C). ``class_dim=-1`` says that the
# classes come last. Without it they are taken along dimension 1, with a warning.


class Detector(nn.Module):
    """A stand-in for DETR: one query for each cell."""

    def __init__(self):
        super().__init__()
        self.cells = cells

    def forward(self, images):
        """Return logits (N, queries, C)."""
        return self.cells(images).flatten(2).transpose(1, 2)  # (N, 100, 4)


detector = Detector().eval()
with torch.no_grad():
    by_query = detector(image)[0].log_softmax(dim=-1)
query = by_query[:, 3].argmax().item()
print(f"query {query} is a {CLASSES[by_query[query].argmax()]}")
cam = LayerDiffGradCam(detector, "cells.0", class_dim=-1)
maps = {
    "cross rather\nthan all others": cam.attribute(image, target=(query, 3)),
    "cross rather\nthan square": cam.attribute(image, target=(query, 3), contrast=2),
}
cam = LayerDiffHiResCam(detector, "cells.0", class_dim=-1)
maps["HiResCAM, rather\nthan all others"] = cam.attribute(image, target=(query, 3))
show_maps(image, maps, limits="map")

# %%
# As in Grad-CAM, a channel has one weight for the whole map. So other places with the
# same features are coloured, too, although this query does not depend on them.
# ``LayerDiffHiResCam`` weights every position by itself and shows only the places that
# the query depends on. It suits single pixels as well.
#
# A detector that gives each class a sigmoid of its own, such as RetinaNet or Deformable
# DETR, has nothing to contrast with: pass ``contrast=[]``.
#
# Detection: the best query for each image
# ----------------------------------------
#
# A function that picks a query makes a classifier of the detector. ``predicted`` and
# ``top_rivals`` then choose classes by themselves, from the same forward pass.


def best_query(images):
    """Return the logits of the query that is surest of an object, (N, C)."""
    logits = detector(images)
    surest = logits.softmax(dim=-1)[..., 1:].amax(dim=-1).argmax(dim=1)
    return logits[torch.arange(len(images)), surest]


cam = LayerDiffGradCam(best_query, "cells.0")
rivals = cam.attribute_rivals(images[:2], predicted, top_rivals(2))
show_rivals(images[:2], rivals, classes=CLASSES)

# %%
# Detectors of torchvision
# ------------------------
#
# They return boxes and scores, from which most of the graph has been cut. The logits
# are inside, between the head and the selection of boxes. SSD has a softmax over the
# classes, of which 0 is the background. The weights here are random:

from torchvision.models.detection import ssdlite320_mobilenet_v3_large

ssd = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).eval()


def anchor_logits(images):
    """Return the logits of all anchors, (N, anchors, C)."""
    maps = list(ssd.backbone(images).values())
    return ssd.head(maps)["cls_logits"]


pictures = torch.rand(1, 3, 320, 320)
cam = LayerDiffGradCam(anchor_logits, "backbone.features.0", class_dim=-1)
print(cam.attribute(pictures, target=(1000, 17)).shape)
