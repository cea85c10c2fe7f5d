"""The data that an attack trains on: batches, taken again and again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias, Union

import torch
from torch import Tensor

Data: TypeAlias = Iterable[Union[Tensor, Sequence[Tensor]]]
"""Batches, such as a DataLoader gives. Each is images ``(N, ...)``, or a pair of images and labels ``(N,)``."""


def check_data(data: Data) -> None:
    """Raise a TypeError where the data cannot be taken again."""
    if isinstance(data, (Tensor, Iterator)) or not isinstance(data, Iterable):
        iterator = "an iterator, which can be taken only once" if isinstance(data, Iterator) else type(data).__name__
        got = "a tensor" if isinstance(data, Tensor) else iterator
        raise TypeError(f"data: got {got}; allowed are batches, such as a DataLoader or a list with one batch")


def batches_of(data: Data, device: torch.device, steps: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """As many batches as there are steps, on the device, with None for labels that there are not."""
    done = 0
    while done < steps:
        before = done
        for batch in islice(data, steps - done):
            parts = (batch,) if isinstance(batch, Tensor) else batch
            if not isinstance(parts, (list, tuple)) or not all(isinstance(p, Tensor) for p in parts) or len(parts) > 2:
                got = type(batch).__name__
                raise TypeError(f"data: gave a batch of type {got}; allowed are images, and pairs of images and labels")
            images, *labels = (part.to(device) for part in parts)
            yield images, labels[0] if labels else None
            done += 1
        if done == before:
            raise ValueError("data: gave no batch; allowed are batches that can be taken again and again")


def checked_labels(labels: Tensor, logits: Tensor) -> Tensor:
    """The labels, one class for each image."""
    if labels.is_floating_point() or labels.shape != logits.shape[:1]:
        got = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise ValueError(f"data: gave labels of {got}; allowed are integers of shape {tuple(logits.shape[:1])}")
    if ((labels < 0) | (labels >= logits.shape[1])).any():
        raise ValueError(f"data: gave labels {labels.tolist()}; allowed are 0 to {logits.shape[1] - 1}")
    return labels.long()
