"""Running once what many ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from torch import Tensor


def memoized(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same, run once for the same images."""
    seen: dict[bytes, Tensor] = {}

    def run_once(images: Tensor) -> Tensor:
        key = hashlib.blake2b(images.detach().cpu().contiguous().numpy().tobytes()).digest()
        if key not in seen:
            seen[key] = run(images)
        return seen[key]

    return run_once
