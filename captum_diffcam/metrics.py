"""Measures of maps, on tensors alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from captum_diffcam.logits import at_least_float32

_CONSTANT = 1e-5
"""Below this share of its largest value a map's variation is rounding."""


def cam_entropy(maps: Tensor) -> Tensor:
    r"""Shannon entropy of each map after ReLU and division by its sum, in nats.

    .. math:: H = -\sum_i p_i \log p_i, \qquad p = \frac{\operatorname{relu}(M)}{\sum \operatorname{relu}(M)}

    A map that lights m positions evenly has entropy :math:`\log m`. A map without a positive value has entropy zero.

    Args:
        maps: (N, ...), one map per example.

    Returns:
        (N,)

    Example:
        >>> import torch
        >>> from captum_diffcam.metrics import cam_entropy
        >>> cam_entropy(torch.ones(1, 1, 7, 4)).exp()
        tensor([28.0000])
    """
    positive = at_least_float32(maps).flatten(1).relu()
    total = positive.sum(dim=1, keepdim=True)
    shares = positive / total.where(total > 0, 1)
    # Clamped, so that gradients are finite where a map is zero.
    return -(shares * shares.clamp(min=torch.finfo(shares.dtype).tiny).log()).sum(dim=1)


def pearson(maps: Tensor, others: Tensor) -> Tensor:
    r"""Pearson's correlation of each signed map with another, over positions.

    Args:
        maps: (N, ...)
        others: maps of the same positions, (N, ...), or (1, ...) for all alike.

    Returns:
        (N,), from -1 to 1; zero where a map is constant.

    Raises:
        ValueError: the positions differ.

    Example:
        >>> import torch
        >>> from captum_diffcam.metrics import pearson
        >>> pearson(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[5.0, 3.0, 1.0]]))
        tensor([-1.0000])
    """
    if maps.shape[1:] != others.shape[1:]:
        raise ValueError(
            f"others: got positions {tuple(others.shape[1:])}; allowed are those of maps, {tuple(maps.shape[1:])}"
        )
    # First to a common size: maps may be tiny, and only their shapes matter.
    a, b = (_centred(at_least_float32(each).flatten(1)) for each in (maps, others))
    return (normalize(a, dim=1, eps=_CONSTANT) * normalize(b, dim=1, eps=_CONSTANT)).sum(dim=1).clamp(-1, 1)


def _centred(flat: Tensor) -> Tensor:
    """Less its mean, as a share of its largest value."""
    largest = flat.detach().abs().amax(dim=1, keepdim=True)
    scaled = flat / largest.where(largest > 0, 1)
    return scaled - scaled.mean(dim=1, keepdim=True)
