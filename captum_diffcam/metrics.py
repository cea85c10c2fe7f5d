"""Measures of maps, on tensors alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


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
    positive = maps.flatten(1).relu()
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

    Example:
        >>> import torch
        >>> from captum_diffcam.metrics import pearson
        >>> pearson(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[5.0, 3.0, 1.0]]))
        tensor([-1.0000])
    """
    a, b = (m.flatten(1) - m.flatten(1).mean(dim=1, keepdim=True) for m in (maps, others))
    # Only the shape matters, and maps may be tiny.
    tiny = torch.finfo(a.dtype).tiny
    return (normalize(a, dim=1, eps=tiny) * normalize(b, dim=1, eps=tiny)).sum(dim=1)
