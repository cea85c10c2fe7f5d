"""Measures of maps, on tensors alone."""

from __future__ import annotations

import torch
from torch import Tensor


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
    entropy: Tensor = torch.special.entr(shares).sum(dim=1)
    return entropy
