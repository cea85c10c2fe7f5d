"""Map losses: what an attacker minimises to change the maps. They take tensors only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, Union

import torch
from torch import Tensor

from captum_diffcam.metrics import cam_entropy, pearson

MapLossFunction: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``(maps, clean_maps, hoax) -> losses``. Takes signed maps ``(N, *positions)``, the clean model's maps of the same
images, and the hoax map ``(*positions)`` or one hoax map per image ``(N, *positions)``. Returns one loss per image,
(N,)."""
MapLoss: TypeAlias = Union[Literal["sham", "location", "top_k", "centre_mass", "destroy"], MapLossFunction]
"""The name of a loss, or a callable."""

_ENTROPY_WEIGHT = 0.2
_TOP_SHARE = 0.1


def sham_loss(maps: Tensor, clean_maps: Tensor, hoax: Tensor) -> Tensor:
    r"""Return the SHAM loss: low where a map has the hoax's positions and its entropy.

    .. math:: 1 - \operatorname{Pearson}(M, h) + \lambda \, (H(M) - H(h))^2, \qquad \lambda = 0.2

    The correlation is that of the signed maps, so it has a gradient everywhere. The entropy is that of the maps after
    ReLU. It keeps the loss from being minimised by negative values.

    Shape: maps ``(N, *positions)``, hoax ``(*positions)`` or ``(N, *positions)`` -> (N,). ``clean_maps`` is not used.

    Source: the idea is from J. Piland, C. Sweet, A. Czajka, arXiv:2506.08514; the formula is ours.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks.losses import sham_loss
        >>> clean_maps, hoax = torch.rand(2, 7, 7), torch.eye(7)
        >>> torch.allclose(sham_loss(hoax.expand(2, 7, 7), clean_maps, hoax), torch.zeros(2), atol=1e-5)
        True
    """
    hoax = hoax.reshape(-1, *maps.shape[1:])
    entropy_difference = cam_entropy(maps) - cam_entropy(hoax)
    return 1 - pearson(maps, hoax) + _ENTROPY_WEIGHT * entropy_difference.square()


def location_loss(maps: Tensor, clean_maps: Tensor, hoax: Tensor) -> Tensor:
    """Return the mean squared difference between each map and the hoax.

    Both are first rectified and divided by their maximum, as Heo et al. do.

    Shape: maps ``(N, *positions)``, hoax ``(*positions)`` or ``(N, *positions)`` -> (N,). ``clean_maps`` is not used.

    Source: location fooling, J. Heo, S. Joo, T. Moon, arXiv:1902.02041.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks.losses import location_loss
        >>> clean_maps, hoax = torch.rand(2, 7, 7), torch.eye(7)
        >>> location_loss(3 * hoax.expand(2, 7, 7), clean_maps, hoax)
        tensor([0., 0.])
    """
    hoax = hoax.reshape(-1, *maps.shape[1:])
    return (_rectified_and_scaled(maps) - _rectified_and_scaled(hoax)).square().flatten(1).mean(dim=1)


def top_k_loss(maps: Tensor, clean_maps: Tensor, hoax: Tensor) -> Tensor:
    """Return the mean squared value of each map at the highest tenth of the clean map's positions.

    Maps are first rectified and divided by their maximum, as Heo et al. do.

    Shape: maps and clean_maps ``(N, *positions)`` -> (N,). ``hoax`` is not used.

    Source: top-k fooling, J. Heo, S. Joo, T. Moon, arXiv:1902.02041.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks.losses import top_k_loss
        >>> clean_maps, hoax = torch.rand(2, 7, 7), torch.eye(7)
        >>> top_k_loss(-clean_maps, clean_maps, hoax)
        tensor([0., 0.])
    """
    count = max(round(_TOP_SHARE * clean_maps[0].numel()), 1)
    top = clean_maps.flatten(1).topk(count, dim=1).indices
    return _rectified_and_scaled(maps).flatten(1).gather(1, top).square().mean(dim=1)


def centre_mass_loss(maps: Tensor, clean_maps: Tensor, hoax: Tensor) -> Tensor:
    """Return minus the distance between the centroids of each map and its clean map, in positions.

    The centroid is that of the map after ReLU. The distance is the sum over dimensions.

    Shape: maps and clean_maps ``(N, *positions)`` -> (N,). ``hoax`` is not used.

    Source: centre-mass fooling, J. Heo, S. Joo, T. Moon, arXiv:1902.02041.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks.losses import centre_mass_loss
        >>> first_row, last_row = torch.eye(7)[:1].expand(1, 7, 7), torch.eye(7)[6:].expand(1, 7, 7)
        >>> centre_mass_loss(first_row, last_row, torch.eye(7))
        tensor([-6.])
    """
    return -(_centroid(maps) - _centroid(clean_maps)).abs().sum(dim=1)


def destroy_loss(maps: Tensor, clean_maps: Tensor, hoax: Tensor) -> Tensor:
    """Return the correlation of each map with its clean map, to make maps meaningless without any hoax.

    Shape: maps and clean_maps ``(N, *positions)`` -> (N,). ``hoax`` is not used.

    Example:
        >>> import torch
        >>> from captum_diffcam.attacks.losses import destroy_loss
        >>> clean_maps, hoax = torch.rand(2, 7, 7), torch.eye(7)
        >>> torch.allclose(destroy_loss(-clean_maps, clean_maps, hoax), torch.tensor([-1.0, -1.0]), atol=1e-5)
        True
    """
    return pearson(maps, clean_maps)


LOSSES: dict[str, MapLossFunction] = {
    "sham": sham_loss,
    "location": location_loss,
    "top_k": top_k_loss,
    "centre_mass": centre_mass_loss,
    "destroy": destroy_loss,
}


def resolve_map_loss(map_loss: MapLoss) -> MapLossFunction:
    """Return the loss function of a name; a callable is returned as it is."""
    if callable(map_loss):
        return map_loss
    if not isinstance(map_loss, str) or map_loss not in LOSSES:
        raise ValueError(f"`map_loss` must be one of {', '.join(map(repr, LOSSES))} or a callable, got {map_loss!r}.")
    return LOSSES[map_loss]


def _rectified_and_scaled(maps: Tensor) -> Tensor:
    """Return the maps after ReLU and division by their maximum; zero where no value is positive."""
    positive = maps.relu()
    peak = positive.flatten(1).amax(dim=1)
    return positive / peak.where(peak > 0, 1).reshape(-1, *[1] * (maps.ndim - 1))


def _centroid(maps: Tensor) -> Tensor:
    """Return the centroid of each map after ReLU. Shapes: ``(N, *positions)`` -> (N, dimensions)."""
    positive = maps.relu().flatten(1)
    total = positive.sum(dim=1, keepdim=True)
    axes = [torch.arange(length, device=maps.device) for length in maps.shape[1:]]
    coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(axes))
    return positive @ coordinates.to(positive) / total.where(total > 0, 1)
