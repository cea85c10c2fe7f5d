"""Grad-CAM of functions of the logits: the probability, its logarithm, and ReST, which are often used instead."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import log_softmax, softmax

PROBABILITY, LOG_PROBABILITY = "Grad-CAM of the probability", "Grad-CAM of its logarithm"
REST = "Grad-CAM of ReST (logit + log probability)"


class Transformed(nn.Module):
    """A classifier whose logits are replaced by a function of them. Shapes: (N, ...) -> (N, C)."""

    def __init__(self, model: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the function of the logits."""
        return self.function(self.model(inputs))


def rest(logits: Tensor) -> Tensor:
    """Return logits plus log probabilities. Shapes: (N, C) -> (N, C).

    H. Cai, "CAMs as Shapley Value-based Explainers", arXiv:2501.06261.
    """
    return logits + log_softmax(logits, dim=1)


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    PROBABILITY: partial(softmax, dim=1),
    LOG_PROBABILITY: partial(log_softmax, dim=1),
    REST: rest,
}
"""What each method explains, as a function of the logits."""
