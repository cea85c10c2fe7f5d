"""Measure where a map is high: on the target's object, on its rival's, or on neither.

Maps (N, H, W) have the size of the masks.
"""

from __future__ import annotations

import torch
from captum.attr import LayerAttribution
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import max_pool2d

from captum_diffcam.metrics import pearson


def upsample(maps: Tensor, height: int, width: int) -> Tensor:
    """Return maps upsampled to the size of the image, bilinear. Shapes: (N, h, w) -> (N, height, width)."""
    if maps.shape[1:] == (height, width):
        return maps
    upsampled: Tensor = LayerAttribution.interpolate(maps[:, None], (height, width), "bilinear")
    return upsampled[:, 0]


def regions(masks: Tensor, distance: int) -> Tensor:
    """Return the pixels near the first object only, near the second only, and near neither.

    Near means within ``distance`` pixels, because a coarse map cannot follow a thin stroke. Pixels near both objects
    belong to no region. Shapes: (N, 2, H, W) boolean -> (N, 3, H, W) boolean.
    """
    near = max_pool2d(masks.float(), 2 * distance + 1, stride=1, padding=distance) > 0
    first, second = near.unbind(dim=1)
    return torch.stack([first & ~second, second & ~first, ~first & ~second], dim=1)


def energy(maps: Tensor, parts: Tensor) -> Tensor:
    """Return the share of a map's positive part in each region; zero for a map without a positive part.

    After H. Wang et al., "Score-CAM", arXiv:1910.01279, section 4.3. Shapes: (N, H, W), (N, R, H, W) -> (N, R).
    """
    sums = (maps.relu()[:, None] * parts).sum(dim=(2, 3))
    total = sums.sum(dim=1, keepdim=True)
    return sums / total.where(total > 0, 1)


def pointing(maps: Tensor, part: Tensor) -> Tensor:
    """Return whether the map's highest value lies in the region; with ties, the share of the tied pixels.

    A map without a positive part points nowhere. After J. Zhang et al., "Excitation Backprop", arXiv:1608.00507,
    section 4.1. Shapes: (N, H, W), (N, H, W) boolean -> (N,).
    """
    highest = maps.amax(dim=(1, 2), keepdim=True)
    tied = (maps == highest) & (highest > 0)
    hits, total = (tied & part).sum(dim=(1, 2)), tied.sum(dim=(1, 2))
    return hits / total.clamp(min=1)


def auroc(maps: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Return the AUROC of the pixels of two disjoint masks; a tie counts as half.

    Shapes: (N, H, W), (N, H, W) boolean, (N, H, W) boolean -> (N,).
    """
    values = [
        roc_auc_score(mask[mask | other].cpu(), map_[mask | other].cpu())
        for map_, mask, other in zip(maps, positive, negative, strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64, device=maps.device)


def correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Return Pearson's correlation of each map with its counterpart; NaN if one of the two is constant.

    Shapes: (N, h, w), (N, h, w) -> (N,).
    """
    low, high = torch.stack([maps, others]).flatten(2).aminmax(dim=2)
    constant = (low == high).any(dim=0)
    return pearson(maps.double(), others.double()).masked_fill(constant, torch.nan)
