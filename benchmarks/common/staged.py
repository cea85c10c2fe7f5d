"""A classifier in two stages: a stem that an attacker leaves unchanged, and a tail that is attacked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.common.memoize import memoized


class Staged(nn.Module):
    """The stem followed by the tail, so that many tails can share one stem."""

    def __init__(self, stem: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.stem, self.tail = stem, tail

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.tail(self.stem(images))
        return logits


class Memoized(nn.Module):
    """A frozen module that computes each batch once. Its outputs carry no graph."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.compute = memoized(module)

    def forward(self, images: Tensor) -> Tensor:
        """Return the output of the module."""
        with torch.no_grad():
            return self.compute(images)


class Tail(nn.Module):
    """Feature maps, pooling and a head. ``features`` is the layer to explain."""

    def __init__(self, features: nn.Module, pooling: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.pooling, self.head = features, pooling, head

    def forward(self, stem_output: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.pooling(self.features(stem_output)).flatten(1))
        return logits
