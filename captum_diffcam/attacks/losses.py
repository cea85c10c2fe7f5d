"""What an attacker wants of the maps: losses on tensors alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, Union

import torch
from torch import Tensor

from captum_diffcam.metrics import cam_entropy, pearson

MapLossFunction: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes signed maps ``(N, *positions)``, the honest model's maps of the same images and the hoax ``(*positions)``, and
returns losses ``(N,)``."""
MapLoss: TypeAlias = Union[Literal["sham", "location", "top_k", "centre_mass"], MapLossFunction]
"""A name, or a callable."""

_ENTROPY_WEIGHT = 0.2
_TOP_SHARE = 0.1


def sham_loss(maps: Tensor, honest: Tensor, hoax: Tensor) -> Tensor:
    r"""SHAM: at the hoax's location, with the hoax's entropy.

    .. math:: 1 - \operatorname{Pearson}(M, h) + \lambda \, (H(M) - H(h))^2, \qquad \lambda = 0.2

    The correlation has a gradient wherever the signed map is, and the entropy, which is that of the ReLU, keeps it from
    being reached by negative values. Source of the idea: J. Piland, C. Sweet, A. Czajka, arXiv:2506.08514; the formula
    is ours.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks.losses import sham_loss
        >>> honest, hoax = torch.rand(2, 7, 7), torch.eye(7)
        >>> torch.allclose(sham_loss(hoax.expand(2, 7, 7), honest, hoax), torch.zeros(2), atol=1e-5)
        True
    """
    difference = cam_entropy(maps) - cam_entropy(hoax[None])
    return 1 - pearson(maps, hoax[None]) + _ENTROPY_WEIGHT * difference.square()


def location_loss(maps: Tensor, honest: Tensor, hoax: Tensor) -> Tensor:
    """Mean squared distance of the maps from the hoax. Source: Heo et al., arXiv:1902.02041, location fooling.

    Both are looked at as Heo et al. do: after ReLU and division by the maximum.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks.losses import location_loss
        >>> honest, hoax = torch.rand(2, 7, 7), torch.eye(7)
        >>> location_loss(3 * hoax.expand(2, 7, 7), honest, hoax)
        tensor([0., 0.])
    """
    return (_lit(maps) - _lit(hoax[None])).square().flatten(1).mean(dim=1)


def top_k_loss(maps: Tensor, honest: Tensor, hoax: Tensor) -> Tensor:
    """Mean squared value where the honest map has its highest tenth. Source: Heo et al., arXiv:1902.02041, top-k.

    Of maps after ReLU and division by the maximum.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks.losses import top_k_loss
        >>> honest, hoax = torch.rand(2, 7, 7), torch.eye(7)
        >>> top_k_loss(-honest, honest, hoax)
        tensor([0., 0.])
    """
    count = max(round(_TOP_SHARE * honest[0].numel()), 1)
    places = honest.flatten(1).topk(count, dim=1).indices
    return _lit(maps).flatten(1).gather(1, places).square().mean(dim=1)


def centre_mass_loss(maps: Tensor, honest: Tensor, hoax: Tensor) -> Tensor:
    """Minus the distance between the centroids, in positions. Source: Heo et al., arXiv:1902.02041, centre-mass.

    The centroid is that of the map after ReLU.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks.losses import centre_mass_loss
        >>> first, last = torch.eye(7)[:1].expand(1, 7, 7), torch.eye(7)[6:].expand(1, 7, 7)
        >>> centre_mass_loss(first, last, torch.eye(7))
        tensor([-6.])
    """
    return -(_centroid(maps) - _centroid(honest)).abs().sum(dim=1)


LOSSES: dict[str, MapLossFunction] = {
    "sham": sham_loss,
    "location": location_loss,
    "top_k": top_k_loss,
    "centre_mass": centre_mass_loss,
}


def find_loss(map_loss: MapLoss) -> MapLossFunction:
    """The function of a loss by name."""
    if callable(map_loss):
        return map_loss
    if not isinstance(map_loss, str) or map_loss not in LOSSES:
        raise ValueError(f"map_loss: got {map_loss!r}; allowed are {', '.join(map(repr, LOSSES))} and a callable")
    return LOSSES[map_loss]


def _lit(maps: Tensor) -> Tensor:
    """After ReLU and division by the maximum, as Heo et al. look at maps. Without a positive value: zero."""
    positive = maps.relu()
    peak = positive.flatten(1).amax(dim=1)
    return positive / peak.where(peak > 0, 1).reshape(-1, *[1] * (maps.ndim - 1))


def _centroid(maps: Tensor) -> Tensor:
    """In positions. Shapes: ``(N, *positions)`` -> (N, dimensions)."""
    positive = maps.relu().flatten(1)
    total = positive.sum(dim=1, keepdim=True)
    axes = [torch.arange(length, device=maps.device) for length in maps.shape[1:]]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))
    return positive @ places.to(positive) / total.where(total > 0, 1)
