"""Where a map lies, against masks: on the object asked for, on its rival, or on neither. Tensors alone.

Maps (N, H, W) have the size of the masks.
"""

from __future__ import annotations

import torch
from captum.attr import LayerAttribution
from torch import Tensor
from torch.nn.functional import max_pool2d


def upsample(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps at the size of the image, bilinear. Shapes: (N, h, w) -> (N, height, width)."""
    if maps.shape[1:] == (height, width):
        return maps
    upsampled: Tensor = LayerAttribution.interpolate(maps[:, None], (height, width), "bilinear")
    return upsampled[:, 0]


def regions(masks: Tensor, reach: int) -> Tensor:
    """Near the first object alone, near the second alone, and near neither.

    Near is within ``reach`` pixels, because a coarse map cannot follow a thin stroke. Pixels near both are in none of
    the three. Shapes: (N, 2, H, W) boolean -> (N, 3, H, W) boolean.
    """
    near = max_pool2d(masks.float(), 2 * reach + 1, stride=1, padding=reach) > 0
    first, second = near.unbind(dim=1)
    return torch.stack([first & ~second, second & ~first, ~first & ~second], dim=1)


def energy(maps: Tensor, parts: Tensor) -> Tensor:
    """The share of the positive part in each region; zero for a map that lights nothing.

    After H. Wang et al., "Score-CAM", arXiv:1910.01279, section 4.3. Shapes: (N, H, W), (N, R, H, W) -> (N, R).
    """
    sums = (maps.relu()[:, None] * parts).sum(dim=(2, 3))
    total = sums.sum(dim=1, keepdim=True)
    return sums / total.where(total > 0, 1)


def pointing(maps: Tensor, part: Tensor) -> Tensor:
    """Whether the map's highest value is in the region; of several such places, their share.

    A map that lights nothing points nowhere. After J. Zhang et al., "Excitation Backprop", arXiv:1608.00507, section
    4.1. Shapes: (N, H, W), (N, H, W) boolean -> (N,).
    """
    highest = maps.amax(dim=(1, 2), keepdim=True)
    places = (maps == highest) & (highest > 0)
    hits, all_ = (places & part).sum(dim=(1, 2)), places.sum(dim=(1, 2))
    return hits / all_.clamp(min=1)


def auroc(maps: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """How often a pixel of the positive mask is higher than one of the negative mask; a tie is half.

    Shapes: (N, H, W), (N, H, W) boolean, (N, H, W) boolean -> (N,).
    """
    return torch.stack([_auroc(*one) for one in zip(maps, positive, negative, strict=True)])


def _auroc(map_: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    above, below = map_[positive][:, None], map_[negative]
    return ((above > below).double() + 0.5 * (above == below)).mean()
