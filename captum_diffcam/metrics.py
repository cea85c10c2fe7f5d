"""Measures of maps, on tensors alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from captum_diffcam.logits import at_least_float32

_CONSTANT = 1e-5
"""A map whose variation is below this share of its largest value counts as constant: in float32 it is rounding."""


def cam_entropy(maps: Tensor) -> Tensor:
    r"""Return the Shannon entropy in nats of each map's positive part, taken as a distribution over positions.

    .. math:: H = -\sum_i p_i \log p_i, \qquad p = \frac{\operatorname{relu}(M)}{\sum \operatorname{relu}(M)}

    If a map has m equal positive values, its entropy is :math:`\log m`. If it has no positive value, its entropy is
    zero.

    Args:
        maps: (N, ...), one map per example.

    Returns:
        (N,)

    Raises:
        ValueError: ``maps`` has no dimension of examples.

    Example:
        >>> import torch
        >>> from captum_diffcam.metrics import cam_entropy
        >>> cam_entropy(torch.ones(1, 1, 7, 4)).exp()
        tensor([28.0000])
    """
    positive = _flat("maps", maps).relu()
    total = positive.sum(dim=1, keepdim=True)
    shares = positive / total.where(total > 0, 1)
    # The clamp keeps the gradient finite where a map is zero.
    return -(shares * shares.clamp(min=torch.finfo(shares.dtype).tiny).log()).sum(dim=1)


def pearson(maps: Tensor, others: Tensor) -> Tensor:
    r"""Return Pearson's correlation of each signed map with another map, over positions.

    Args:
        maps: (N, ...)
        others: maps of the same positions, (N, ...), or (1, ...) to compare all maps with one.

    Returns:
        (N,), from -1 to 1. If one of the two maps is constant, the correlation is zero.

    Raises:
        ValueError: ``others`` has other positions, or another number of examples.

    Example:
        >>> import torch
        >>> from captum_diffcam.metrics import pearson
        >>> pearson(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[5.0, 3.0, 1.0]]))
        tensor([-1.0000])
    """
    if maps.shape[1:] != others.shape[1:] or (len(maps) != len(others) and 1 not in (len(maps), len(others))):
        raise ValueError(
            f"`others` must have the shape of `maps`, {tuple(maps.shape)}, or one example of it, got "
            f"{tuple(others.shape)}."
        )
    # The maps are first brought to a common scale, because very small maps would underflow.
    a, b = (_centred(_flat(name, values)) for name, values in (("maps", maps), ("others", others)))
    return (normalize(a, dim=1, eps=_CONSTANT) * normalize(b, dim=1, eps=_CONSTANT)).sum(dim=1).clamp(-1, 1)


def _flat(argument: str, maps: Tensor) -> Tensor:
    """Return maps as rows, in float32 or better. Shape: (N, ...) -> (N, positions)."""
    if maps.ndim < 2:
        raise ValueError(f"`{argument}` must have a shape (N, ...), got {tuple(maps.shape)}. Add the batch dimension.")
    return at_least_float32(maps).flatten(1)


def _centred(rows: Tensor) -> Tensor:
    """Return each row divided by its largest absolute value, minus its mean."""
    largest = rows.detach().abs().amax(dim=1, keepdim=True)
    scaled = rows / largest.where(largest > 0, 1)
    return scaled - scaled.mean(dim=1, keepdim=True)
