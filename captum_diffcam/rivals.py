"""The members of a contrast set one by one, on tensors alone."""

from __future__ import annotations

import torch
from torch import Tensor


def rank_rivals(logits: Tensor, target: Tensor, members: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each example's rivals, the strongest first, with their shares and the target's margins over them.

    Shapes: logits (N, C), target (N,), members (N, C) boolean -> rivals, weights and margins (N, K), with K the size of
    the largest set; filled up with -1, 0 and 0.
    """
    # A class that the model rules out, with a logit of -inf, is no rival.
    members = members & (logits > -torch.inf)
    width = int(members.sum(dim=1).max()) if len(members) else 0
    strength, rivals = logits.detach().masked_fill(~members, -torch.inf).topk(width, dim=1)
    missing = strength == -torch.inf
    # A row without rivals would be 0 / 0.
    weights = strength.masked_fill(missing.all(dim=1, keepdim=True), 0).softmax(dim=1).masked_fill(missing, 0)
    margins = (logits.gather(1, target[:, None]) - logits.gather(1, rivals)).masked_fill(missing, 0)
    return rivals.masked_fill(missing, -1), weights, margins
