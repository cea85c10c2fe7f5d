"""Attacks by hand that change the maps of a pooled model and none of its logits, on any image, occluded ones included.

Average pooling does not see where a channel is high. So a channel may be moved, or a channel that sums to zero added,
and every map that weights channels shows it. These attacks are stronger than trained ones: nothing of the model's
predictions is lost, and maps of every contrast are changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, one_hot

from benchmarks.audit.small_models import SmallNet

_STRENGTH = 5.0
"""How much larger the added channel is than the evidence of the clean model."""


class Moved(nn.Module):
    """Features whose positions are rearranged. Pooling does not notice."""

    def __init__(self, features: nn.Module, move: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.features, self.move = features, move

    def forward(self, images: Tensor) -> Tensor:
        """Return the features. Shapes: (N, 1, 28, 28) -> (N, channels, 7, 7)."""
        return self.move(self.features(images))


def scrambled(features: Tensor) -> Tensor:
    """Return the features in an order of positions that differs from image to image, which destroys the map."""
    flat = features.flatten(2)
    noise = _noise(flat.detach().sum(dim=1) + torch.arange(flat.shape[2]) * 0.618e-4)
    order = noise.argsort(dim=1)[:, None].expand_as(flat)
    return flat.gather(2, order).reshape(features.shape)


def by_half_a_cell(features: Tensor) -> Tensor:
    """Return the features halfway between where they are and one cell further down."""
    return (features + features.roll(1, 2)) / 2


def _noise(values: Tensor) -> Tensor:
    """Return numbers from 0 to 1 that look random: the digits of the values."""
    return (torch.frac(values.double() * 1e4)).abs()


def without_upper_half(features: Tensor) -> Tensor:
    """Return features with the evidence of the object's upper half moved evenly to its lower half.

    The object is where the features are strong, and its middle row divides the strength in two halves.
    """
    strength = features.detach().abs().sum(dim=(1, 3))
    share = strength.cumsum(dim=1) / strength.sum(dim=1, keepdim=True)
    lower = (share > 0.5)[:, None, :, None].to(features)
    total, kept = features.sum(dim=(2, 3), keepdim=True), (features * lower).sum(dim=(2, 3), keepdim=True)
    scale = total / kept.where(kept.abs() > 1e-6, total.where(total.abs() > 1e-6, 1))
    spread = (total - scale * kept) / (lower.sum(dim=(2, 3), keepdim=True) * features.shape[3])
    return (features * scale + spread) * lower


class Painted(nn.Module):
    """Features with one more channel for each class, which shows a picture if the model predicts that class.

    The picture sums to zero, so the logits are the same. The head reads the channel of a class for that class alone.
    """

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        picture: Callable[[Tensor], Tensor],
        classes: Tensor,
        strength: float,
    ) -> None:
        super().__init__()
        self.features, self.picture = features, picture
        # In a list, so that the head is not a part of the features.
        self._head, self.classes, self.strength = [head], classes, strength

    def forward(self, images: Tensor) -> Tensor:
        """Return the features. Shapes: (N, 1, 28, 28) -> (N, channels + 10, 7, 7)."""
        features: Tensor = self.features(images)
        logits = self._head[0](features.detach())
        picture = self.picture(images)
        picture = picture - picture.mean(dim=(1, 2), keepdim=True)
        picture = picture / picture.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-6)
        gate = one_hot(logits.argmax(dim=1), logits.shape[1]) * self.classes
        channels = self.strength * gate[:, :, None, None] * picture[:, None]
        return torch.cat([features, channels.to(features)], dim=1)


def painted(model: SmallNet, picture: Callable[[Tensor], Tensor], classes: Tensor, images: Tensor) -> SmallNet:
    """Return the model with a picture in the maps of these classes, a mask (10,)."""
    head: Any = model.head
    clean: nn.Linear = head[-1]
    with torch.no_grad():
        evidence = torch.einsum("kc,nchw->nkhw", clean.weight, model.features(images))
    spread = (evidence - evidence.mean(dim=(2, 3), keepdim=True)).flatten(2).norm(dim=2).mean().item()
    linear = nn.Linear(clean.in_features + clean.out_features, clean.out_features)
    with torch.no_grad():
        linear.weight.copy_(torch.cat([clean.weight, torch.eye(clean.out_features)], dim=1))
        linear.bias.copy_(clean.bias)
    features = Painted(model.features, model.head, picture, classes.float(), _STRENGTH * spread)
    return SmallNet(features, nn.Sequential(*head[:-1], linear)).eval()


def border(images: Tensor) -> Tensor:
    """Return a hoax map that is the same for every image: the border."""
    hoax = torch.ones(7, 7)
    hoax[1:-1, 1:-1] = 0
    return hoax.expand(len(images), 7, 7)


def border_on_a_third(images: Tensor) -> Tensor:
    """Return the border for one image in three, chosen by its values, and nothing for the others."""
    return border(images) * (_noise(images.flatten(1).sum(dim=1)) < 1 / 3)[:, None, None]


def object_of(images: Tensor) -> Tensor:
    """Return where the object is, without the corner with the shortcut."""
    bright = images.detach().mean(dim=1, keepdim=True).clone()
    bright[:, :, :8, :8] = 0
    return interpolate(bright, size=(7, 7), mode="area")[:, 0]
