"""Compute once what several callers need."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from torch import Tensor


def memoized(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a function that runs ``run`` once for the same images."""
    results: dict[bytes, Tensor] = {}

    def run_once(images: Tensor) -> Tensor:
        key = hashlib.blake2b(images.detach().cpu().contiguous().numpy().tobytes()).digest()
        if key not in results:
            results[key] = run(images)
        return results[key]

    return run_once
