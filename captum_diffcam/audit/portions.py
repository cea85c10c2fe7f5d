"""Where a model runs, in which precision, and on how many examples at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import Module

_USUAL = 32


class Portions:
    """Runs a function on portions of a batch, on the device and in the precision of the model.

    Args:
        device: where to.
        dtype: of inputs that are no integers.
        size: examples at a time. None: 32, and half as many whenever a GPU's memory does not hold them.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype, size: int | None) -> None:
        self.device, self.dtype, self.given = device, dtype, size
        self.size = size or _USUAL
        self.forwards = 0
        """On how many examples the functions were run."""

    def run(self, function: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, beside: Tensor) -> Tensor:
        """``function`` of the inputs and of what stands beside each. Shapes: (N, ...), (N,) -> (N, ...), on the CPU."""
        found: list[Tensor] = []
        start = 0
        while start < len(inputs):
            portion = slice(start, start + self.size)
            given = inputs[portion].to(self.device, self.dtype if inputs.is_floating_point() else None)
            try:
                found.append(function(given, beside[portion].to(self.device)).cpu())
            except torch.cuda.OutOfMemoryError:
                if self.given or self.size == 1:
                    raise
                self.size //= 2
                continue
            self.forwards += len(given)
            start += len(given)
        return torch.cat(found)


@contextmanager
def portions(model: Module, device: torch.device | str | None, size: int | None) -> Iterator[Portions]:
    """The portions of a model, which is on the device inside and back where it was afterwards."""
    tensors = [*model.parameters(), *model.buffers()]
    home = tensors[0].device if tensors else torch.device("cpu")
    place = home if device is None else torch.device(device)
    dtype = next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.get_default_dtype())
    moved = place != home
    try:
        if moved:
            model.to(place)
        yield Portions(place, dtype, size)
    finally:
        if moved:
            model.to(home)
