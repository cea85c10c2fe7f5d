"""A classifier in two stages: a stem that an attacker leaves alone, and a tail that is attacked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.common.memoize import memoized


class Staged(nn.Module):
    """The stem, then the tail. What the stem puts out is remembered, since many tails follow one stem."""

    def __init__(self, stem: nn.Module, tail: nn.Module) -> None:
        super().__init__()
        self.stem, self.tail = stem, tail

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.tail(self.stem(images))
        return logits


class Remembering(nn.Module):
    """A frozen module that computes each batch once. Its outputs carry no graph."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.remembered = memoized(module)

    def forward(self, images: Tensor) -> Tensor:
        """What the module puts out."""
        with torch.no_grad():
            return self.remembered(images)


class Tail(nn.Module):
    """Feature maps, pooling and a head; ``features`` is the layer to explain."""

    def __init__(self, features: nn.Module, pooling: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features, self.pooling, self.head = features, pooling, head

    def forward(self, stemmed: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.pooling(self.features(stemmed)).flatten(1))
        return logits
